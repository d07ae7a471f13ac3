"""The table of calls, as several pages have it."""

from collections.abc import Sequence
from typing import Any

from htpy import Node, p

from services.admin.console.elements import (
    Column,
    count,
    data_usd,
    link,
    rows_table,
    status_badge,
    when,
)
from services.admin.console.page import View, segment

_COLUMNS = (
    Column("Time"), Column("Account"), Column("Model"), Column("Status"),
    Column("Tokens in", "number"), Column("Tokens out", "number"), Column("Cost", "number"),
    Column("ms", "number"),
)  # fmt: skip


def calls_table(view: View, entries: Sequence[Any]) -> Node:
    empty = p["No call matches. Calls appear here within a second of their end."]
    return rows_table("Calls", _COLUMNS, [_row(view, each) for each in entries], empty=empty)


def _row(view: View, entry: Any) -> list[Node]:
    return [
        link(
            f"/console/calls/{segment(entry['entry_id'])}",
            when(entry["started_at"], view.zone, seconds=True),
        ),
        link(f"/console/accounts/{segment(entry['user_id'])}", entry["user_id"]),
        entry["model"],
        status_badge(entry["status"]),
        count(entry["usage"].input_tokens if hasattr(entry["usage"], "input_tokens") else None),
        "",
        data_usd(entry["cost_usd"]),
        "",
    ]
