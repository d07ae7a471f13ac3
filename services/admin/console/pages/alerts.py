"""Alerts: who is told, what they were told, and one alert with its message and its replay."""

import asyncio
from collections.abc import Mapping

from htpy import Node, a

from libs.common.errors import NotFound
from libs.common.schemas.alert import AlertKind, DeliveryState
from services.admin.alerts import deliveries, receivers
from services.admin.alerts.deliveries import AlertView
from services.admin.console.alerts_table import alerts_table
from services.admin.console.elements import (
    NOTHING,
    count_text,
    facts,
    json_block,
    link,
    mono,
    panel,
    status_badge,
    when,
)
from services.admin.console.filters import filters
from services.admin.console.forms import confirm_form
from services.admin.console.page import ConsolePage, PageHandler, Shown, View, go_to, segment
from services.admin.console.pages.receivers import receivers_table

_TEXTS = {
    "user_id": "Account", "receiver_id": "Receiver's id", "since": "Since", "until": "Until",
}  # fmt: skip
_CHOICES = {"kind": ("Kind", AlertKind), "state": ("State", DeliveryState)}
_EMPTY = "No alert matches. Budgets, prices, keys, deployments and the ledger give rise to them."


async def list_page(view: View) -> Shown:
    page, its_receivers = await asyncio.gather(
        view.api.call(deliveries.list_alerts, query=view.query), _receivers(view)
    )
    return ConsolePage(
        name="Alerts",
        content=[
            its_receivers,
            panel(
                "What they were told",
                filters(view, _TEXTS, _CHOICES),
                alerts_table(view, page.data, empty=_EMPTY),
                view.pager(page),
            ),
        ],
    )


async def _receivers(view: View) -> Node:
    if not view.api.may(receivers.list_receivers):
        return None
    page = await view.api.call(receivers.list_receivers, query={"limit": 200})
    new = a(".button.primary", href="/console/new/receiver")["New receiver"]
    return panel(
        "Receivers",
        receivers_table(page.data),
        actions=view.api.may(receivers.create_receiver) and new,
    )


async def show_page(view: View) -> Shown:
    alert = await view.api.call(
        deliveries.show_alert, alert_id=view.request.path_params["alert_id"]
    )
    again = confirm_form(
        f"/console/alerts/{segment(alert.alert_id)}/replay", view.session.csrf,
        submit="Send it again",
        asks="Sends the same message again, with the same id.",
        danger=False,
    )  # fmt: skip
    return ConsolePage(
        name=alert.kind,
        content=[
            panel("Delivery", await _facts(view, alert)),
            panel("Message", json_block(alert.message)),
            view.api.may(deliveries.replay_alert) and panel("Replay", again),
        ],
    )


async def _facts(view: View, alert: AlertView) -> Node:
    account = alert.user_id and link(f"/console/accounts/{segment(alert.user_id)}", alert.user_id)
    status = alert.http_status and str(alert.http_status)
    return facts(
        [
            ("Id", mono(alert.alert_id)),
            ("Receiver", await _receiver(view, alert.receiver_id)),
            ("Account", account or NOTHING),
            ("State", status_badge(alert.state)),
            ("Tries", count_text(alert.tries)),
            ("Tried last", when(alert.tried_at, view.zone, seconds=True)),
            ("Tried next", when(alert.next_try_at, view.zone, seconds=True)),
            ("Delivered", when(alert.delivered_at, view.zone, seconds=True)),
            ("HTTP status", status or NOTHING),
            ("Fault", alert.fault or NOTHING),
            ("Came about", when(alert.created_at, view.zone, seconds=True)),
        ]
    )


async def _receiver(view: View, receiver_id: str) -> Node:
    """By its name, unless it was removed meanwhile."""
    try:
        found = await view.api.call(receivers.show_receiver, receiver_id=receiver_id)
    except NotFound:
        return [mono(receiver_id), ", removed since"]
    at = f"/console/alerts/receivers/{segment(receiver_id)}"
    return link(at, found.name or found.url)


async def replay(view: View) -> Shown:
    alert_id = view.request.path_params["alert_id"]
    await view.api.call(deliveries.replay_alert, alert_id=alert_id)
    return go_to(f"/console/alerts/{segment(alert_id)}")


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/alerts": {"GET": list_page},
    "/console/alerts/{alert_id}": {"GET": show_page},
    "/console/alerts/{alert_id}/replay": {"POST": replay},
}
