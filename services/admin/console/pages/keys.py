"""Keys: made, shown once, changed, rotated and revoked."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from htpy import Node, a, button, code, p, pre

from libs.common.errors import AppError, Conflict, NotFound, PreconditionFailed, ValidationFailed
from libs.common.schemas.account import BudgetPeriod
from services.admin import keys, rotations, usage_series
from services.admin.console.elements import (
    Column,
    facts,
    link,
    mono,
    panel,
    rows_table,
    status_badge,
    usd,
    when,
)
from services.admin.console.filters import filters
from services.admin.console.form_fields import Field, Typed, body_of
from services.admin.console.forms import confirm_form, form_of, status_of
from services.admin.console.page import Handler, Page, Shown, View, form_for, go_to, segment
from services.admin.console.spend_chart import CHART_DAYS, last_days, spend_chart
from services.admin.keys import KeyView, NewKeyView

_COMMON = (
    Field(
        path="allowed_models", label="Models that it may call", kind="list", empty=None,
        help="One a line, * as a wildcard; empty means all that are priced.",
    ),
    Field(path="expires_at", label="Expires", kind="time", empty=None, help="Empty: never."),
    Field(
        path="limits.requests_per_minute", label="Requests a minute", kind="number", empty=None
    ),
    Field(path="limits.tokens_per_minute", label="Tokens a minute", kind="number", empty=None),
    Field(path="limits.parallel_calls", label="Calls at a time", kind="number", empty=None),
    Field(path="budget.limit_usd", label="Budget of its own, USD", kind="amount"),
    Field(path="budget.period", label="Per", kind="choice", choices=get_args(BudgetPeriod)),
    Field(path="budget.soft_limit_usd", label="Warn from, in USD", kind="amount", empty=None),
)  # fmt: skip
_NEW = (
    Field(path="user_id", label="Account id", required=True),
    Field(path="name", label="Name", help="Who or what holds it."),
    *_COMMON,
)
_EDIT = (Field(path="name", label="Name"), *_COMMON)
_FILTERS = {"q": "Search", "user_id": "Account", "prefix": "Secret begins with"}
_GRACE = (
    Field(
        path="grace_s", label="How long the old secret still works, seconds", kind="number",
        help="86400 is a day; 0 ends it at once.",
    ),
)  # fmt: skip
_COLUMNS = (
    Column("Key"), Column("Name"), Column("Account"), Column("Status"), Column("Expires"),
    Column("Made"),
)  # fmt: skip


def keys_table(view: View, shown: Sequence[KeyView]) -> Node:
    rows = [
        [
            link(f"/console/keys/{segment(key.key_id)}", code[f"{key.prefix}..."]),
            key.name,
            link(f"/console/accounts/{segment(key.user_id)}", key.user_id),
            status_badge(key.status),
            when(key.expires_at, view.zone) if key.expires_at else "never",
            when(key.created_at, view.zone),
        ]
        for key in shown
    ]
    return rows_table("Keys", _COLUMNS, rows, empty=p["No key yet: nobody can call with it."])


async def list_page(view: View) -> Shown:
    listed = await view.api.call(keys.list_keys, query=view.query)
    new = view.api.may(keys.create_key) and a(".button.primary", href="/console/new/key")["New key"]
    return Page(
        name="Keys",
        content=panel(
            "All keys",
            filters(view, _FILTERS, {"status": ("Status", keys.ShownStatus)}),
            keys_table(view, listed.data),
            view.pager(listed),
            actions=new,
        ),
    )


async def new_page(view: View, error: AppError | None = None) -> Shown:
    typed = view.typed or {"user_id": view.query.get("user_id", "")}
    form = form_of(
        "/console/new/key", view.session.csrf, _NEW, submit="Make the key", typed=typed,
        error=error, hidden=view.once(error),
    )  # fmt: skip
    return Page(name="New key", content=panel("New key", form), status=status_of(error))


async def create(view: View) -> Shown:
    try:
        made = await view.api.call(
            keys.create_key, body=_body(_NEW, view.typed), headers=view.once_headers()
        )
    except (ValidationFailed, Conflict, NotFound) as error:
        return await new_page(view, error)
    return _secret_page(view, made, "The key is made")


def _secret_page(view: View, made: NewKeyView, said: str) -> Page:
    gateway = view.request.state["settings"].gateway_url
    command = (
        f"curl {gateway}/v1/chat/completions \\\n"
        f"  -H 'Authorization: Bearer {made.api_key}' \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        """  -d '{"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Hello"}]}'"""
    )
    return Page(
        name=made.name or "Key",
        notice=f"{said}. Its secret is shown now and never again: copy it to where it is needed.",
        content=[
            panel(
                "Secret",
                code("#secret.secret")[made.api_key],
                p[button(type="button", data_copy="secret")["Copy the secret"]],
            ),
            panel(
                "Try it",
                pre("#command", tabindex="0")[command],
                p[button(type="button", data_copy="command")["Copy the command"]],
            ),
            p[link(f"/console/keys/{segment(made.key_id)}", "I have it: go on to the key")],
        ],
    )


async def show_page(view: View) -> Shown:
    key = await _key(view)
    query = {"key_id": key.key_id, "user_id": key.user_id, **last_days(view.now)}
    series = await view.api.call(usage_series.show_series, query=query)
    at = f"/console/keys/{segment(key.key_id)}"
    may_change = view.api.may(keys.change_key) and key.status != "revoked"
    edit, rotate = f"/console/edit/key/{segment(key.key_id)}", f"{at}/rotate"
    links: list[Node] = [
        a(".button", href=edit)["Change"],
        a(".button", href=rotate)["Rotate"],
    ]
    revoke = confirm_form(
        f"{at}/revoke", view.session.csrf, submit="Revoke this key",
        asks="Calls with it are refused within a second, for ever: a revoked key stays revoked.",
    )  # fmt: skip
    return Page(
        name=key.name or "Key",
        content=[
            panel("Key", _facts(view, key), actions=links if may_change else None),
            panel("Budgets of its own", *_budgets(view, key)),
            panel(
                f"Spent in {CHART_DAYS} days",
                spend_chart(series.total),
                actions=link(f"/console/calls?key_id={segment(key.key_id)}", "All its calls"),
            ),
            may_change and panel("Revoke", revoke),
        ],
    )


def _facts(view: View, key: KeyView) -> Node:
    old = ", ".join(f"{each.prefix}..." for each in key.old_secrets)
    models = "all" if key.allowed_models is None else ", ".join(key.allowed_models)
    limits = [f"{value:,} {name}" for name, value in _limits(key).items() if value is not None]
    return facts(
        [
            ("Id", mono(key.key_id)),
            ("Begins with", mono(key.prefix)),
            ("Account", link(f"/console/accounts/{segment(key.user_id)}", key.user_id)),
            ("Status", status_badge(key.status)),
            ("Expires", when(key.expires_at, view.zone) if key.expires_at else "never"),
            ("Old secrets that still work", old or "none"),
            ("Models", models),
            ("Limits", ", ".join(limits) or "none of its own"),
            ("Made", when(key.created_at, view.zone)),
            ("Changed", when(key.updated_at, view.zone)),
        ]
    )


def _limits(key: KeyView) -> dict[str, int | None]:
    return {
        "requests a minute": key.limits.requests_per_minute,
        "tokens a minute": key.limits.tokens_per_minute,
        "calls at a time": key.limits.parallel_calls,
    }


def _budgets(view: View, key: KeyView) -> list[Node]:
    if not key.budgets:
        return [p(".empty")["None: its account's budgets alone bound it."]]
    return [
        p[usd(spend.spent_usd), " of ", usd(spend.limit_usd), f" {budget.period}, ",
          usd(spend.remaining_usd), " left"]
        for budget, spend in zip(key.budgets, key.spend.budgets, strict=True)
    ]  # fmt: skip


async def _key(view: View) -> KeyView:
    return await view.api.call(keys.show_key, api_key=view.request.path_params["key_id"])


async def edit_page(view: View, error: AppError | None = None, *, raced: bool = False) -> Shown:
    key_id = view.request.path_params["key_id"]
    answer = await view.api.answer(keys.show_key, api_key=key_id)
    stored = _typed(answer.content)
    form = form_of(
        view.path, view.session.csrf, _fields(answer.content), submit="Save",
        typed=view.typed or stored, error=error, hidden={"etag": view.etag(answer, raced=raced)},
        now=stored if raced else None,
    )  # fmt: skip
    return Page(name="Change the key", content=panel("Key", form), status=status_of(error))


async def change(view: View) -> Shown:
    key = await _key(view)
    body = _body(_fields(key), view.typed, key)
    headers = {"if-match": view.typed.get("etag", "")}
    try:
        await view.api.call(keys.change_key, body=body, headers=headers, api_key=key.key_id)
    except PreconditionFailed:
        return await edit_page(view, view.raced("key"), raced=True)
    except (ValidationFailed, Conflict) as error:
        return await edit_page(view, error)
    return go_to(f"/console/keys/{segment(key.key_id)}")


def _fields(key: KeyView) -> tuple[Field, ...]:
    """Several budgets are changed one by one by the API alone."""
    several = len(key.budgets) > 1
    return tuple(f for f in _EDIT if not (several and f.path.startswith("budget.")))


def _typed(key: KeyView) -> Mapping[str, str]:
    budget = key.budgets[0] if key.budgets else None
    values: dict[str, Any] = {
        "name": key.name,
        "allowed_models": "\n".join(key.allowed_models or ()),
        "expires_at": key.expires_at and key.expires_at.isoformat().replace("+00:00", "Z"),
        "limits.requests_per_minute": key.limits.requests_per_minute,
        "limits.tokens_per_minute": key.limits.tokens_per_minute,
        "limits.parallel_calls": key.limits.parallel_calls,
        "budget.limit_usd": budget and f"{budget.limit_usd:f}",
        "budget.period": budget and budget.period,
        "budget.soft_limit_usd": budget and budget.soft_limit_usd and f"{budget.soft_limit_usd:f}",
    }
    return {name: "" if value is None else str(value) for name, value in values.items()}


def _body(fields: tuple[Field, ...], typed: Typed, before: KeyView | None = None) -> dict[str, Any]:
    """The one budget of the form is the list of budgets that the API has.

    What a form does not show, or cannot say again, stays as it was before.
    """
    body = body_of(fields, typed)
    if before is not None and body.get("expires_at") == _typed(before)["expires_at"]:
        # The time of an expired key lies in the past, which is no time to set.
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
    said = p["The key keeps its id, limits, budgets and history; only its secret changes."]
    return Page(name="Rotate the key", content=panel("Rotate", said, form), status=status_of(error))


async def rotate(view: View) -> Shown:
    try:
        made = await view.api.call(
            rotations.rotate_key, body=body_of(_GRACE, view.typed),
            headers=view.once_headers(), api_key=view.request.path_params["key_id"],
        )  # fmt: skip
    except (ValidationFailed, Conflict) as error:
        return await rotate_page(view, error)
    return _secret_page(view, made, "The key has a new secret")


async def revoke(view: View) -> Shown:
    key_id = view.request.path_params["key_id"]
    await view.api.call(keys.revoke_key, api_key=key_id)
    return go_to(f"/console/keys/{segment(key_id)}")


PAGES: Mapping[str, Mapping[str, Handler]] = {
    "/console/keys": {"GET": list_page},
    "/console/new/key": form_for(keys.create_key, new_page, create),
    "/console/keys/{key_id}": {"GET": show_page},
    "/console/edit/key/{key_id}": form_for(keys.change_key, edit_page, change),
    "/console/keys/{key_id}/rotate": form_for(rotations.rotate_key, rotate_page, rotate),
    "/console/keys/{key_id}/revoke": {"POST": revoke},
}
