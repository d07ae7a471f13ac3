"""Corrections by form: of a call, or of what an account has spent in all."""

from collections.abc import Mapping
from typing import get_args

from htpy import p

from libs.common.errors import AppError, Conflict, NotFound, ValidationFailed
from libs.common.schemas.correction import OrderedKind
from services.admin import corrections
from services.admin.console.elements import panel
from services.admin.console.form_fields import FormField, form_body
from services.admin.console.forms import error_status, form_of
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
    FormField(path="user_id", label="Account id", required=True),
    FormField(
        path="entry_id", label="Call that it corrects",
        help="Its id; empty for a credit that is of no call. It counts in the call's budget "
        "periods, else in the current ones.",
    ),
    FormField(
        path="kind", label="Kind", kind="choice", choices=get_args(OrderedKind), required=True
    ),
    FormField(
        path="amount_usd", label="Amount in USD, added to what was spent", kind="amount",
        required=True, help="Below zero gives back: -0.50 is half a dollar less.",
    ),
    FormField(path="reason", label="Reason", required=True, help="Kept with the entry, for ever."),
)  # fmt: skip


async def new_page(view: View, error: AppError | None = None) -> Shown:
    defaults = {name: view.query.get(name, "") for name in ("user_id", "entry_id")}
    form = form_of(
        "/console/new/correction", view.session.csrf, _FIELDS, submit="Post the correction",
        typed=view.typed or defaults, error=error, hidden=view.once(error),
    )  # fmt: skip
    note = p["A correction is a separate entry. Entries are never changed or removed."]
    return ConsolePage(
        name="New correction", content=panel("Entry", note, form), status=error_status(error)
    )


async def create(view: View) -> Shown:
    body = form_body(_FIELDS, view.typed)
    # The same form is the same correction, however often it is sent.
    body["idempotency_key"] = next(iter(view.once().values()))
    try:
        await view.api.call(corrections.create_correction, body=body)
    except (ValidationFailed, Conflict, NotFound) as error:
        return await new_page(view, error)
    entry_id, user_id = body.get("entry_id"), body.get("user_id", "")
    of_call = entry_id and f"/console/calls/{segment(entry_id)}"
    return go_to(of_call or f"/console/accounts/{segment(user_id)}")


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/new/correction": form_for(corrections.create_correction, new_page, create),
}
