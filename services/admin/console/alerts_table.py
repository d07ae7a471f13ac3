"""The table of alerts and what became of them, as several pages have it."""

from collections.abc import Sequence

from htpy import Node, p

from services.admin.alerts.deliveries import AlertView
from services.admin.console.elements import (
    NOTHING,
    Column,
    count_text,
    link,
    rows_table,
    status_badge,
    when,
)
from services.admin.console.page import View, segment

_COLUMNS = (
    Column("When"), Column("Kind"), Column("Account"), Column("State"), Column("Tries", "number"),
    Column("Fault"),
)  # fmt: skip


def alerts_table(view: View, alerts: Sequence[AlertView], *, empty: str) -> Node:
    return rows_table("Alerts", _COLUMNS, [_row(view, each) for each in alerts], empty=p[empty])


def _row(view: View, each: AlertView) -> list[Node]:
    account = each.user_id and link(f"/console/accounts/{segment(each.user_id)}", each.user_id)
    moment = when(each.created_at, view.zone, seconds=True)
    return [
        link(f"/console/alerts/{segment(each.alert_id)}", moment),
        each.kind,
        account or NOTHING,
        status_badge(each.state),
        count_text(each.tries),
        each.fault or NOTHING,
    ]
