"""`/admin/accounts`."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from libs.common.domain.money import nusd_to_usd, usd_to_nusd
from libs.common.errors import Conflict, FieldError, NotFound, ValidationFailed
from libs.common.schemas.account import Account, AccountStatus, Budget, BudgetPeriod
from libs.common.web.json import json_response
from services.admin.decoding import query_struct, read_struct
from services.admin.fields import LimitUsd, Metadata, Name, UserId
from services.admin.paging import Paging
from services.admin.spend import Spend, spend_of_accounts
from services.admin.state import State


class BudgetBody(msgspec.Struct, frozen=True, kw_only=True):
    limit_usd: LimitUsd
    period: BudgetPeriod


class NewAccount(msgspec.Struct, frozen=True, kw_only=True):
    """Without a name, an account is called by its user_id."""

    user_id: UserId
    name: Name | None = None
    status: AccountStatus = "active"
    budget: BudgetBody | None = None
    metadata: Metadata | None = None


class AccountChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What is absent stays as it is; a budget of null is removed."""

    name: Name | UnsetType = UNSET
    status: AccountStatus | UnsetType = UNSET
    budget: BudgetBody | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    limit_usd: Decimal
    period: BudgetPeriod


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    name: str
    status: AccountStatus
    budget: BudgetView | None
    metadata: dict[str, str]
    spend: Spend
    created_at: datetime
    updated_at: datetime


async def create_account(request: Request[State]) -> Response:
    state = request.state
    now = state["now"]()
    body = await read_struct(request, NewAccount, now)
    account = Account(
        user_id=body.user_id,
        name=body.user_id if body.name is None else body.name,
        status=body.status,
        budget=_budget(body.budget),
        metadata={} if body.metadata is None else body.metadata,
        created_at=now,
        updated_at=now,
    )
    if not await state["accounts"].insert(account):
        raise Conflict(f"The account '{body.user_id}' exists already.", param="user_id")
    return await _answer(state, account, status=201)


async def list_accounts(request: Request[State]) -> Response:
    state = request.state
    paging = query_struct(request, Paging, state["now"]())
    fetched = await state["accounts"].list(after=paging.after, limit=paging.fetch)
    views = await _views(state, paging.page(fetched))
    return json_response(paging.answer(fetched, views, "user_id"))


async def show_account(request: Request[State]) -> Response:
    account = await find_account(request.state, request.path_params["user_id"])
    return json_response((await _views(request.state, [account]))[0])


async def change_account(request: Request[State]) -> Response:
    state, user_id = request.state, request.path_params["user_id"]
    now = state["now"]()
    changes = changed_fields(await read_struct(request, AccountChanges, now))
    if "budget" in changes:
        budget = _budget(changes["budget"])
        changes["budget"] = None if budget is None else msgspec.to_builtins(budget)
    account = await state["accounts"].update(user_id, changes, now)
    if account is None:
        raise unknown_account(user_id)
    return await _answer(state, account, status=200)


async def find_account(state: State, user_id: str) -> Account:
    """Raises NotFound."""
    account = await state["accounts"].get(user_id)
    if account is None:
        raise unknown_account(user_id)
    return account


def unknown_account(user_id: str) -> NotFound:
    return NotFound(f"There is no account '{user_id[:128]}'.", param="user_id")


def changed_fields(changes: msgspec.Struct) -> dict[str, Any]:
    """The fields that are set. Raises ValidationFailed where none is."""
    fields = {k: v for k, v in msgspec.structs.asdict(changes).items() if v is not UNSET}
    if not fields:
        known = ", ".join(changes.__struct_fields__)
        raise ValidationFailed([FieldError("body", f"names none of the fields {known}")])
    return fields


async def _answer(state: State, account: Account, *, status: int) -> Response:
    headers = await state["announcer"].announce("account", [account.user_id])
    views = await _views(state, [account])
    return json_response(views[0], status=status, headers=headers)


async def _views(state: State, accounts: Sequence[Account]) -> list[AccountView]:
    spends = await spend_of_accounts(state, accounts)
    return [_view(account, spend) for account, spend in zip(accounts, spends, strict=True)]


def _view(account: Account, spend: Spend) -> AccountView:
    return AccountView(
        user_id=account.user_id,
        name=account.name,
        status=account.status,
        budget=_budget_view(account.budget),
        metadata=account.metadata,
        spend=spend,
        created_at=account.created_at,
        updated_at=account.updated_at,
    )


def _budget_view(budget: Budget | None) -> BudgetView | None:
    if budget is None:
        return None
    return BudgetView(limit_usd=nusd_to_usd(budget.limit_nusd), period=budget.period)


def _budget(body: BudgetBody | None) -> Budget | None:
    if body is None:
        return None
    return Budget(limit_nusd=usd_to_nusd(body.limit_usd), period=body.period)
