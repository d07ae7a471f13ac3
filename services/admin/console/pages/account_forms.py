"""Accounts by form: made, and changed beside what others change."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from libs.common.errors import AppError, Conflict, ValidationFailed
from libs.common.schemas.account import AccountStatus
from services.admin import accounts
from services.admin.accounts import AccountView
from services.admin.console.edits import edit_form, save
from services.admin.console.elements import panel
from services.admin.console.form_fields import FormField, Typed, form_body, typed_of
from services.admin.console.forms import error_status, form_of
from services.admin.console.limit_fields import LIMITS, budget_fields, limits_shown, several_budgets
from services.admin.console.page import (
    ConsolePage,
    PageHandler,
    Shown,
    View,
    form_for,
    go_to,
    segment,
)

_SETTINGS = (
    FormField(path="name", label="Name"),
    FormField(
        path="status", label="Status", kind="choice", choices=get_args(AccountStatus),
        required=True,
    ),
    FormField(path="time_zone", label="Time zone", help="Its budget periods begin in it."),
    *LIMITS,
)  # fmt: skip
_BUDGET = budget_fields(
    "Budget in USD", "Calls are refused before they could pass it. Empty means no budget."
)
_NEW = (
    FormField(
        path="user_id", label="Account id", required=True,
        help="Letters, digits and . _ @ : + -, such as team-search. It cannot be changed later.",
    ),
    FormField(path="name", label="Name", help="Shown in lists; the id by default."),
    *_BUDGET,
    FormField(path="time_zone", label="Time zone", help="Such as Europe/Berlin; UTC by default."),
)  # fmt: skip


async def new_page(view: View, error: AppError | None = None) -> Shown:
    content = panel(
        "New account",
        form_of(
            view.path, view.session.csrf, _NEW, submit="Create the account", typed=view.typed,
            error=error, hidden=view.once(error),
        ),
    )  # fmt: skip
    return ConsolePage(name="New account", content=content, status=error_status(error))


async def create(view: View) -> Shown:
    try:
        account = await view.api.call(
            accounts.create_account, body=_body(_NEW, view.typed), headers=view.once_headers()
        )
    except (ValidationFailed, Conflict) as error:
        return await new_page(view, error)
    return go_to(f"/console/accounts/{segment(account.user_id)}")


async def edit_page(view: View, error: AppError | None = None, *, raced: bool = False) -> Shown:
    user_id = view.request.path_params["user_id"]
    answer = await view.api.answer(accounts.show_account, user_id=user_id)
    form = edit_form(
        view, _fields(answer.content), answer, _typed(answer.content), error=error, raced=raced
    )
    return ConsolePage(
        name=f"Change {answer.content.name}",
        content=panel("Account", several_budgets(len(answer.content.budgets)), form),
        status=error_status(error),
    )


async def change(view: View) -> Shown:
    user_id = view.request.path_params["user_id"]
    account = await view.api.call(accounts.show_account, user_id=user_id)
    body = _body(_fields(account), view.typed)
    return await save(
        view, accounts.change_account, body, noun="account", again=edit_page,
        then=f"/console/accounts/{segment(user_id)}", user_id=user_id,
    )  # fmt: skip


def _body(fields: Sequence[FormField], typed: Typed) -> dict[str, Any]:
    """An empty amount means no budget: null removes what there was."""
    body = form_body(fields, typed)
    if "budget" in body and body["budget"].get("limit_usd") is None:
        body["budget"] = None
    return body


def _fields(account: AccountView) -> tuple[FormField, ...]:
    """Several budgets are changed one by one by the API alone."""
    return _SETTINGS + _BUDGET if len(account.budgets) <= 1 else _SETTINGS


def _typed(account: AccountView) -> Typed:
    return typed_of(
        {
            "name": account.name,
            "status": account.status,
            "time_zone": account.time_zone,
            **limits_shown(account.limits, account.budgets),
        }
    )


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/new/account": form_for(accounts.create_account, new_page, create),
    "/console/edit/account/{user_id}": form_for(accounts.change_account, edit_page, change),
}
