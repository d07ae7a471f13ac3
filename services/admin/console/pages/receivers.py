"""Receivers of alerts: made, changed, tested, given another secret and removed."""

import asyncio
from collections.abc import Mapping, Sequence

from htpy import Node, a, code, p

from libs.common.errors import AppError, Conflict, NotFound, ValidationFailed
from libs.common.schemas.alert import ALERT_KINDS
from services.admin.alerts import deliveries, receivers
from services.admin.alerts.receivers import NewReceiverView, ReceiverView
from services.admin.console.alerts_table import alerts_table
from services.admin.console.edits import edit_form, save
from services.admin.console.elements import (
    NOTHING,
    Column,
    facts,
    link,
    mono,
    panel,
    rows_table,
    secret_text,
    status_badge,
    when,
)
from services.admin.console.form_fields import FormField, form_body, typed_of
from services.admin.console.forms import confirm_form, error_status, form_of
from services.admin.console.page import (
    ConsolePage,
    PageHandler,
    Shown,
    View,
    form_for,
    go_to,
    segment,
)

_FIELDS = (
    FormField(
        path="url", label="Address", required=True,
        help="Where webhooks are sent: https at a public host, or one of ALERT_ALLOWED_HOSTS.",
    ),
    FormField(path="name", label="Name", empty="", help="Shown in lists, such as on-call."),
    FormField(
        path="kinds", label="Told of", kind="many", choices=ALERT_KINDS, empty=(),
        help="None ticked means all kinds.",
    ),
    FormField(
        path="user_ids", label="Only of these accounts", kind="list", empty=(),
        help="One a line; empty means all accounts, and what is of none.",
    ),
)  # fmt: skip
_ALL_FIELDS = (
    *_FIELDS,
    FormField(
        path="enabled", label="Send to it", kind="flag",
        help="While unticked, it gets no alerts.",
    ),
)  # fmt: skip
_GRACE = (
    FormField(
        path="grace_s", label="How long messages are signed with the old secret too, seconds",
        kind="number", required=True, help="86400 is a day; 0 ends it at once.",
    ),
)  # fmt: skip
_COLUMNS = (
    Column("Receiver"),
    Column("Address"),
    Column("Told of"),
    Column("Accounts"),
    Column("State"),
)
_LATEST = 10


def receivers_table(views: Sequence[ReceiverView]) -> Node:
    rows: list[list[Node]] = [
        [
            link(_path(each.receiver_id), each.name or "no name"),
            code[each.url],
            ", ".join(each.kinds) or "all",
            ", ".join(each.user_ids) or "all",
            status_badge("active" if each.enabled else "suspended"),
        ]
        for each in views
    ]
    empty = p["No receivers yet. A receiver is a URL that gets alerts as signed webhooks."]
    return rows_table("Receivers", _COLUMNS, rows, empty=empty)


def _path(receiver_id: str) -> str:
    return f"/console/alerts/receivers/{segment(receiver_id)}"


async def new_page(view: View, error: AppError | None = None) -> Shown:
    form = form_of(
        "/console/new/receiver", view.session.csrf, _FIELDS, submit="Make the receiver",
        typed=view.typed, error=error, hidden=view.once(error),
    )  # fmt: skip
    return ConsolePage(
        name="New receiver", content=panel("Receiver", form), status=error_status(error)
    )


async def create(view: View) -> Shown:
    try:
        receiver = await view.api.call(
            receivers.create_receiver,
            body=form_body(_FIELDS, view.typed),
            headers=view.once_headers(),
        )
    except (ValidationFailed, Conflict, NotFound) as error:
        return await new_page(view, error)
    return _secret_page(receiver, "The receiver is made")


def _secret_page(receiver: NewReceiverView, result: str) -> ConsolePage:
    return ConsolePage(
        name=receiver.name or "Receiver",
        notice=f"{result}. Its signing secret is shown now and never again.",
        content=panel(
            "Signing secret",
            secret_text(receiver.secret),
            p["The receiver uses it to verify messages (Standard Webhooks)."],
            p[link(_path(receiver.receiver_id), "I have it: go on to the receiver")],
        ),
    )


async def show_page(view: View) -> Shown:
    receiver_id = view.request.path_params["receiver_id"]
    query = {"receiver_id": receiver_id, "limit": _LATEST}
    receiver, alerts = await asyncio.gather(
        view.api.call(receivers.show_receiver, receiver_id=receiver_id),
        view.api.call(deliveries.list_alerts, query=query),
    )
    edit = a(".button", href=f"/console/edit/receiver/{segment(receiver_id)}")["Change"]
    rotate = a(".button", href=f"{_path(receiver_id)}/rotate")["Rotate the secret"]
    all_of_it = f"/console/alerts?receiver_id={segment(receiver_id)}"
    return ConsolePage(
        name=receiver.name or "Receiver",
        content=[
            panel(
                "Receiver",
                _facts(view, receiver),
                actions=view.api.may(receivers.change_receiver) and [edit, rotate],
            ),
            panel(
                "What it was told",
                alerts_table(view, alerts.data, empty="Nothing yet. Send it a test to see one."),
                actions=link(all_of_it, "All of it"),
            ),
            *_actions(view, receiver),
        ],
    )


def _facts(view: View, receiver: ReceiverView) -> Node:
    old = receiver.old_secret_until
    return facts(
        [
            ("Id", mono(receiver.receiver_id)),
            ("Address", mono(receiver.url)),
            ("State", status_badge("active" if receiver.enabled else "suspended")),
            ("Told of", ", ".join(receiver.kinds) or "all kinds"),
            ("Accounts", ", ".join(receiver.user_ids) or "all"),
            ("Old secret signs until", when(old, view.zone) if old else NOTHING),
            ("Made", when(receiver.created_at, view.zone)),
            ("Changed", when(receiver.updated_at, view.zone)),
        ]
    )


def _actions(view: View, receiver: ReceiverView) -> list[Node]:
    at, csrf, name = _path(receiver.receiver_id), view.session.csrf, receiver.name or receiver.url
    test = confirm_form(
        f"{at}/test", csrf, submit="Send a test",
        asks=f"Sends one alert of the kind receiver.test to {receiver.url}, whatever kinds it "
        "gets.",
        hidden=view.once(), danger=False,
    )  # fmt: skip
    remove = confirm_form(
        f"{at}/remove", csrf, submit="Remove this receiver",
        asks=f"{name} gets no more alerts, and its pending deliveries are dropped. Its secret "
        "is deleted.",
    )  # fmt: skip
    return [
        receiver.enabled and view.api.may(receivers.test_receiver) and panel("Test", test),
        view.api.may(receivers.remove_receiver) and panel("Remove", remove),
    ]


async def edit_page(view: View, error: AppError | None = None, *, raced: bool = False) -> Shown:
    receiver_id = view.request.path_params["receiver_id"]
    answer = await view.api.answer(receivers.show_receiver, receiver_id=receiver_id)
    form = edit_form(view, _ALL_FIELDS, answer, _typed(answer.content), error=error, raced=raced)
    return ConsolePage(
        name=f"Change {answer.content.name or 'the receiver'}",
        content=panel("Receiver", form),
        status=error_status(error),
    )


async def change(view: View) -> Shown:
    receiver_id = view.request.path_params["receiver_id"]
    return await save(
        view, receivers.change_receiver, form_body(_ALL_FIELDS, view.typed), noun="receiver",
        again=edit_page, then=_path(receiver_id), receiver_id=receiver_id,
    )  # fmt: skip


def _typed(receiver: ReceiverView) -> dict[str, str]:
    return typed_of(
        {
            "url": receiver.url,
            "name": receiver.name,
            "kinds": receiver.kinds,
            "user_ids": receiver.user_ids,
            "enabled": receiver.enabled,
        }
    )


async def rotate_page(view: View, error: AppError | None = None) -> Shown:
    form = form_of(
        view.path, view.session.csrf, _GRACE, submit="Make a new secret",
        typed=view.typed or {"grace_s": "86400"}, error=error, hidden=view.once(error),
    )  # fmt: skip
    return ConsolePage(
        name="Rotate the signing secret",
        content=panel(
            "Rotate",
            p["The receiver gets a new secret. Until the old one ends, messages carry a "
              "signature by each, so that none is rejected while you change it at the receiver."],
            form,
        ),
        status=error_status(error),
    )  # fmt: skip


async def rotate(view: View) -> Shown:
    try:
        receiver = await view.api.call(
            receivers.rotate_secret,
            body=form_body(_GRACE, view.typed),
            headers=view.once_headers(),
            receiver_id=view.request.path_params["receiver_id"],
        )
    except ValidationFailed as error:
        return await rotate_page(view, error)
    return _secret_page(receiver, "The secret is a new one")


async def test(view: View) -> Shown:
    alert = await view.api.call(
        receivers.test_receiver,
        headers=view.once_headers(),
        receiver_id=view.request.path_params["receiver_id"],
    )
    return go_to(f"/console/alerts/{segment(alert.alert_id)}")


async def remove(view: View) -> Shown:
    await view.api.call(
        receivers.remove_receiver, receiver_id=view.request.path_params["receiver_id"]
    )
    return go_to("/console/alerts")


_AT = "/console/alerts/receivers/{receiver_id}"
PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/new/receiver": form_for(receivers.create_receiver, new_page, create),
    "/console/edit/receiver/{receiver_id}": form_for(receivers.change_receiver, edit_page, change),
    _AT: {"GET": show_page},
    f"{_AT}/rotate": form_for(receivers.rotate_secret, rotate_page, rotate),
    f"{_AT}/test": {"POST": test},
    f"{_AT}/remove": {"POST": remove},
}
