"""`/admin/alerts`: alerts, and their deliveries to receivers."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
from starlette.requests import Request

from libs.common.errors import Conflict, NotFound
from libs.common.schemas.alert import AlertKind, Delivery, DeliveryState
from libs.common.storage.mongo.alerts import AlertFilter
from services.admin.endpoints import Answer
from services.admin.fields import Id, Time, UserId
from services.admin.pages import Page, PageQuery
from services.admin.state import State
from services.admin.validation import check_span

_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


class AlertQuery(PageQuery, frozen=True, kw_only=True):
    """`since` is inclusive, `until` exclusive."""

    kind: AlertKind | None = None
    receiver_id: Id | None = None
    state: DeliveryState | None = None
    user_id: UserId | None = None
    since: Time | None = None
    until: Time | None = None
    sort: Literal["created_at", "-created_at"] = "-created_at"


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """`alert_id` is the message's `webhook-id`; `next_try_at` is null unless it is pending."""

    alert_id: str
    receiver_id: str
    kind: AlertKind
    user_id: str | None
    message: dict[str, Any]
    state: DeliveryState
    tries: int
    next_try_at: datetime | None
    tried_at: datetime | None
    delivered_at: datetime | None
    http_status: int | None
    fault: str | None
    created_at: datetime


async def list_alerts(request: Request[State], query: AlertQuery) -> Answer[Page[AlertView]]:
    """The newest first, unless `sort` says otherwise."""
    if query.since is not None and query.until is not None:
        check_span(query.since, query.until)
    fields = {name: getattr(query, name) for name in AlertFilter.__struct_fields__}
    reading = query.reading("alert_id", query.sort)
    found = await request.state["alerts"].slice(AlertFilter(**fields), reading.slice)
    return Answer(reading.page(found, [alert_view(delivery) for delivery in found.rows]))


async def show_alert(request: Request[State]) -> Answer[AlertView]:
    delivery = await request.state["alerts"].get(request.path_params["alert_id"])
    if delivery is None:
        raise _unknown()
    return Answer(alert_view(delivery))


async def replay_alert(request: Request[State]) -> Answer[AlertView]:
    """202: the message is sent again, with the same id."""
    state, alert_id = request.state, request.path_params["alert_id"]
    found = await state["alerts"].get(alert_id)
    if found is None:
        raise _unknown()
    if await state["receivers"].get(found.receiver_id) is None:
        message = "Its receiver was removed, so it cannot be sent again."
        raise Conflict(message, param="alert_id")
    delivery = await state["alerts"].replay(alert_id, state["now"]())
    if delivery is None:
        raise _unknown()
    return Answer(alert_view(delivery))


def alert_view(delivery: Delivery) -> AlertView:
    fields = {
        name: getattr(delivery, name)
        for name in AlertView.__struct_fields__
        if name in Delivery.__struct_fields__
    }
    return AlertView(
        **fields,
        message=_decode(delivery.body),
        next_try_at=delivery.due_at if delivery.state == "pending" else None,
    )


def _unknown() -> NotFound:
    return NotFound("There is no alert with this id.", param="alert_id")
