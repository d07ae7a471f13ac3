"""Keys by form: made and shown once, changed, and given another secret."""

from collections.abc import Mapping
from typing import Any

from htpy import button, p, pre

from libs.common.errors import AppError, Conflict, NotFound, ValidationFailed
from services.admin import keys, rotations
from services.admin.console.edits import edit_form, save
from services.admin.console.elements import link, panel, secret_text
from services.admin.console.form_fields import FormField, Typed, form_body, typed_of
from services.admin.console.forms import error_status, form_of
from services.admin.console.limit_fields import LIMITS, budget_fields, limits_shown, several_budgets
from services.admin.console.page import ConsolePage, PageHandler, Shown, View, form_for, segment
from services.admin.key_bodies import KeyView, NewKeyView

_COMMON = (
    FormField(
        path="allowed_models", label="Models that it may call", kind="list", empty=None,
        help="One a line, * as a wildcard; empty means all that are priced.",
    ),
    FormField(path="expires_at", label="Expires", kind="time", empty=None, help="Empty: never."),
    *LIMITS,
    *budget_fields("Budget of its own, USD"),
)  # fmt: skip
_NEW = (
    FormField(path="user_id", label="Account id", required=True),
    FormField(path="name", label="Name", help="Who or what holds it."),
    *_COMMON,
)
_EDIT = (FormField(path="name", label="Name", empty=""), *_COMMON)
_GRACE = (
    FormField(
        path="grace_s", label="How long the old secret still works, seconds", kind="number",
        help="86400 is a day; 0 ends it at once.",
    ),
)  # fmt: skip


async def new_page(view: View, error: AppError | None = None) -> Shown:
    typed = view.typed or {"user_id": view.query.get("user_id", "")}
    form = form_of(
        "/console/new/key", view.session.csrf, _NEW, submit="Make the key", typed=typed,
        error=error, hidden=view.once(error),
    )  # fmt: skip
    return ConsolePage(name="New key", content=panel("New key", form), status=error_status(error))


async def create(view: View) -> Shown:
    try:
        key = await view.api.call(
            keys.create_key, body=_body(_NEW, view.typed), headers=view.once_headers()
        )
    except (ValidationFailed, Conflict, NotFound) as error:
        return await new_page(view, error)
    return _secret_page(view, key, "The key is made")


def _secret_page(view: View, key: NewKeyView, result: str) -> ConsolePage:
    gateway = view.request.state["settings"].gateway_url
    command = (
        f"curl {gateway}/v1/chat/completions \\\n"
        f"  -H 'Authorization: Bearer {key.api_key}' \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        """  -d '{"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Hello"}]}'"""
    )
    return ConsolePage(
        name=key.name or "Key",
        notice=f"{result}. Its secret is shown now and never again: copy it to where it is needed.",
        content=[
            panel(
                "Secret",
                secret_text(key.api_key),
            ),
            panel(
                "Try it",
                pre("#command", tabindex="0")[command],
                p[button(type="button", data_copy="command")["Copy the command"]],
            ),
            p[link(f"/console/keys/{segment(key.key_id)}", "I have it: go on to the key")],
        ],
    )


async def edit_page(view: View, error: AppError | None = None, *, raced: bool = False) -> Shown:
    key_id = view.request.path_params["key_id"]
    answer = await view.api.answer(keys.show_key, api_key=key_id)
    form = edit_form(
        view, _fields(answer.content), answer, _typed(answer.content), error=error, raced=raced
    )
    return ConsolePage(
        name="Change the key",
        content=panel("Key", several_budgets(len(answer.content.budgets)), form),
        status=error_status(error),
    )


async def change(view: View) -> Shown:
    key = await view.api.call(keys.show_key, api_key=view.request.path_params["key_id"])
    body = _body(_fields(key), view.typed, key)
    return await save(
        view, keys.change_key, body, noun="key", again=edit_page,
        then=f"/console/keys/{segment(key.key_id)}", api_key=key.key_id,
    )  # fmt: skip


def _fields(key: KeyView) -> tuple[FormField, ...]:
    """Several budgets are changed one by one by the API alone."""
    several = len(key.budgets) > 1
    return tuple(f for f in _EDIT if not (several and f.path.startswith("budget.")))


def _typed(key: KeyView) -> Typed:
    return typed_of(
        {
            "name": key.name,
            "allowed_models": key.allowed_models,
            "expires_at": key.expires_at,
            **limits_shown(key.limits, key.budgets),
        }
    )


def _body(
    fields: tuple[FormField, ...], typed: Typed, before: KeyView | None = None
) -> dict[str, Any]:
    """The one budget of the form is the list of budgets that the API has.

    What a form does not show, or cannot say again, stays as it was before.
    """
    body = form_body(fields, typed)
    if before is not None and body.get("expires_at") == _typed(before)["expires_at"]:
        # The time of an expired key lies in the past, which is not a time to set.
        del body["expires_at"]
    if any(field.path == "budget.limit_usd" for field in fields):
        budget = body.pop("budget", {})
        if before is not None and before.budgets:
            budget["alert_percents"] = before.budgets[0].alert_percents
        body["budgets"] = [budget] if budget.get("limit_usd") else []
    return body


async def rotate_page(view: View, error: AppError | None = None) -> Shown:
    form = form_of(
        view.path, view.session.csrf, _GRACE, submit="Make a new secret",
        typed=view.typed or {"grace_s": "86400"}, error=error, hidden=view.once(error),
    )  # fmt: skip
    note = p["The key keeps its id, limits, budgets and history; only its secret changes."]
    return ConsolePage(
        name="Rotate the key", content=panel("Rotate", note, form), status=error_status(error)
    )


async def rotate(view: View) -> Shown:
    try:
        key = await view.api.call(
            rotations.rotate_key, body=form_body(_GRACE, view.typed),
            headers=view.once_headers(), api_key=view.request.path_params["key_id"],
        )  # fmt: skip
    except (ValidationFailed, Conflict) as error:
        return await rotate_page(view, error)
    return _secret_page(view, key, "The key has a new secret")


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/new/key": form_for(keys.create_key, new_page, create),
    "/console/edit/key/{key_id}": form_for(keys.change_key, edit_page, change),
    "/console/keys/{key_id}/rotate": form_for(rotations.rotate_key, rotate_page, rotate),
}
