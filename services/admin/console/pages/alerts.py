"""Alerts: who is told of what, and what they were told."""

from collections.abc import Mapping

from htpy import Node, a, button, code, details, p, summary

from libs.common.errors import AppError, Conflict, NotFound, ValidationFailed
from libs.common.schemas.alert import ALERT_KINDS, AlertKind
from services.admin.alerts import deliveries, receivers
from services.admin.alerts.deliveries import AlertView
from services.admin.alerts.receivers import ReceiverView
from services.admin.console.elements import (
    NOTHING,
    Column,
    count,
    link,
    panel,
    rows_table,
    status_badge,
    when,
)
from services.admin.console.filters import filters
from services.admin.console.form_fields import Field, body_of
from services.admin.console.forms import confirm_form, form_of, status_of
from services.admin.console.page import Handler, Page, Shown, View, form_for, go_to, segment

_NEW = (
    Field(path="url", label="Address", required=True, help="https, where the webhooks are sent."),
    Field(path="name", label="Name"),
    Field(
        path="kinds", label="Only of these kinds", kind="list",
        help=f"One a line; empty means all: {', '.join(ALERT_KINDS)}.",
    ),
    Field(path="user_ids", label="Only of these accounts", kind="list", help="One a line."),
)  # fmt: skip
_RECEIVERS = (
    Column("Receiver"),
    Column("Told of"),
    Column("Accounts"),
    Column("State"),
    Column(""),
)
_ALERTS = (
    Column("When"), Column("Kind"), Column("Account"), Column("State"), Column("Tries", "number"),
    Column("Fault"), Column("Do"),
)  # fmt: skip


async def list_page(view: View) -> Shown:
    told = await view.api.call(deliveries.list_alerts, query=view.query)
    return Page(
        name="Alerts",
        content=[
            view.api.may(receivers.list_receivers) and await _receivers(view),
            panel(
                "What they were told",
                filters(view, {"user_id": "Account"}, {"kind": ("Kind", AlertKind)}),
                rows_table(
                    "Alerts", _ALERTS, [_alert(view, each) for each in told.data],
                    empty=p["No alert matches."],
                ),
                view.pager(told),
            ),
        ],
    )  # fmt: skip


async def _receivers(view: View) -> Node:
    listed = await view.api.call(receivers.list_receivers, query={"limit": 50})
    new = a(".button.primary", href="/console/new/receiver")["New receiver"]
    return panel(
        "Receivers",
        rows_table(
            "Receivers", _RECEIVERS, [_receiver(view, each) for each in listed.data],
            empty=p["Nobody is told of anything yet: make a receiver of webhooks."],
        ),
        actions=view.api.may(receivers.create_receiver) and new,
    )  # fmt: skip


def _receiver(view: View, each: ReceiverView) -> list[Node]:
    at = f"/console/alerts/receivers/{segment(each.receiver_id)}"
    test = confirm_form(
        f"{at}/test", view.session.csrf, submit="Send a test",
        asks=f"Sends one alert of the kind test to {each.url}.", danger=False,
    )  # fmt: skip
    remove = confirm_form(
        f"{at}/remove", view.session.csrf, submit="Remove it",
        asks=f"{each.name or each.url} is told of nothing any more.",
    )  # fmt: skip
    may = view.api.may(receivers.remove_receiver)
    return [
        [each.name, " ", code[each.url]],
        ", ".join(each.kinds) or "all",
        ", ".join(each.user_ids) or "all",
        status_badge("active" if each.enabled else "suspended"),
        details[summary["Test or remove"], test, remove] if may else None,
    ]


def _alert(view: View, each: AlertView) -> list[Node]:
    again = confirm_form(
        f"/console/alerts/{segment(each.alert_id)}/replay", view.session.csrf, submit="Send again",
        asks="Sends it again, with the id that it had.", danger=False,
    )  # fmt: skip
    account = each.user_id and link(f"/console/accounts/{segment(each.user_id)}", each.user_id)
    return [
        when(each.created_at, view.zone, seconds=True),
        each.kind,
        account or NOTHING,
        status_badge(each.state),
        count(each.tries),
        each.fault or NOTHING,
        details[summary["Replay"], again] if view.api.may(deliveries.replay_alert) else None,
    ]


async def new_page(view: View, error: AppError | None = None) -> Shown:
    made = form_of(
        "/console/new/receiver", view.session.csrf, _NEW, submit="Make the receiver",
        typed=view.typed, error=error, hidden=view.once(error),
    )  # fmt: skip
    return Page(name="New receiver", content=panel("Receiver", made), status=status_of(error))


async def create(view: View) -> Shown:
    try:
        made = await view.api.call(
            receivers.create_receiver, body=body_of(_NEW, view.typed), headers=view.once_headers()
        )
    except (ValidationFailed, Conflict, NotFound) as error:
        return await new_page(view, error)
    return Page(
        name=made.name or "Receiver",
        notice="The receiver is made. Its signing secret is shown now and never again.",
        content=panel(
            "Signing secret",
            code("#secret.secret")[made.secret],
            p[button(type="button", data_copy="secret")["Copy the secret"]],
            p[link("/console/alerts", "I have it: go on to the alerts")],
        ),
    )


async def test(view: View) -> Shown:
    await view.api.call(
        receivers.test_receiver, receiver_id=view.request.path_params["receiver_id"]
    )
    return go_to("/console/alerts")


async def remove(view: View) -> Shown:
    await view.api.call(
        receivers.remove_receiver, receiver_id=view.request.path_params["receiver_id"]
    )
    return go_to("/console/alerts")


async def replay(view: View) -> Shown:
    await view.api.call(deliveries.replay_alert, alert_id=view.request.path_params["alert_id"])
    return go_to("/console/alerts")


PAGES: Mapping[str, Mapping[str, Handler]] = {
    "/console/alerts": {"GET": list_page},
    "/console/new/receiver": form_for(receivers.create_receiver, new_page, create),
    "/console/alerts/receivers/{receiver_id}/test": {"POST": test},
    "/console/alerts/receivers/{receiver_id}/remove": {"POST": remove},
    "/console/alerts/{alert_id}/replay": {"POST": replay},
}
