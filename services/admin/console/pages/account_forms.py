"""Accounts by form: made, and changed beside what others change."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from libs.common.errors import AppError, Conflict, PreconditionFailed, ValidationFailed
from libs.common.schemas.account import AccountStatus, BudgetPeriod
from services.admin import accounts
from services.admin.accounts import AccountView
from services.admin.console.elements import (
    panel,
)
from services.admin.console.form_fields import Field, Typed, body_of
from services.admin.console.forms import form_of, several_budgets, status_of
from services.admin.console.page import Handler, Page, Shown, View, form_for, go_to, segment

_SETTINGS = (
    Field(path="name", label="Name"),
    Field(
        path="status", label="Status", kind="choice", choices=get_args(AccountStatus),
        required=True,
    ),
    Field(path="time_zone", label="Time zone", help="Days, weeks and months of its budgets."),
    Field(
        path="limits.requests_per_minute", label="Requests a minute", kind="number", empty=None
    ),
    Field(path="limits.tokens_per_minute", label="Tokens a minute", kind="number", empty=None),
    Field(path="limits.parallel_calls", label="Calls at a time", kind="number", empty=None),
)  # fmt: skip


_BUDGET = (
    Field(
        path="budget.limit_usd", label="Budget in USD", kind="amount",
        help="Calls are refused before they could pass it. Empty means no budget.",
    ),
    Field(path="budget.period", label="Per", kind="choice", choices=get_args(BudgetPeriod)),
    Field(path="budget.soft_limit_usd", label="Warn from, in USD", kind="amount", empty=None),
)  # fmt: skip


_NEW = (
    Field(
        path="user_id", label="Account id", required=True,
        help="Letters, digits and . _ @ : + -, such as team-search. It cannot be changed later.",
    ),
    Field(path="name", label="Name", help="Shown in lists; the id by default."),
    *_BUDGET,
    Field(path="time_zone", label="Time zone", help="Such as Europe/Berlin; UTC by default."),
)  # fmt: skip


async def new_page(view: View, error: AppError | None = None) -> Shown:
    content = panel(
        "New account",
        form_of(
            view.path, view.session.csrf, _NEW, submit="Create the account", typed=view.typed,
            error=error, hidden=view.once(error),
        ),
    )  # fmt: skip
    return Page(name="New account", content=content, status=status_of(error))


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
    stored = _typed(answer.content)
    fields = _fields(answer.content)
    form = form_of(
        view.path, view.session.csrf, fields, submit="Save", typed=view.typed or stored,
        error=error, hidden={"etag": view.etag(answer, raced=raced)}, now=stored if raced else None,
    )  # fmt: skip
    return Page(
        name=f"Change {answer.content.name}",
        content=panel("Account", several_budgets(len(answer.content.budgets)), form),
        status=status_of(error),
    )


async def change(view: View) -> Shown:
    user_id = view.request.path_params["user_id"]
    account = await view.api.call(accounts.show_account, user_id=user_id)
    body = _body(_fields(account), view.typed)
    try:
        await view.api.call(
            accounts.change_account,
            body=body,
            headers={"if-match": view.typed.get("etag", "")},
            user_id=user_id,
        )
    except PreconditionFailed:
        return await edit_page(view, view.raced("account"), raced=True)
    except (ValidationFailed, Conflict) as error:
        return await edit_page(view, error)
    return go_to(f"/console/accounts/{segment(user_id)}")


def _body(fields: Sequence[Field], typed: Typed) -> dict[str, Any]:
    """An empty amount means no budget: null removes what there was."""
    body = body_of(fields, typed)
    if "budget" in body and body["budget"].get("limit_usd") is None:
        body["budget"] = None
    return body


def _fields(account: AccountView) -> tuple[Field, ...]:
    """Several budgets are changed one by one by the API alone."""
    return _SETTINGS + _BUDGET if len(account.budgets) <= 1 else _SETTINGS


def _typed(account: AccountView) -> Mapping[str, str]:
    budget = account.budgets[0] if len(account.budgets) == 1 else None
    values: dict[str, Any] = {
        "name": account.name,
        "status": account.status,
        "time_zone": account.time_zone,
        "limits.requests_per_minute": account.limits.requests_per_minute,
        "limits.tokens_per_minute": account.limits.tokens_per_minute,
        "limits.parallel_calls": account.limits.parallel_calls,
        "budget.limit_usd": budget and f"{budget.limit_usd:f}",
        "budget.period": budget and budget.period,
        "budget.soft_limit_usd": budget and budget.soft_limit_usd and f"{budget.soft_limit_usd:f}",
    }
    return {name: "" if value is None else str(value) for name, value in values.items()}


PAGES: Mapping[str, Mapping[str, Handler]] = {
    "/console/new/account": form_for(accounts.create_account, new_page, create),
    "/console/edit/account/{user_id}": form_for(accounts.change_account, edit_page, change),
}
