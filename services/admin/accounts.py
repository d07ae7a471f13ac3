"""`/admin/accounts`."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from libs.common.domain.money import plain
from libs.common.errors import Conflict, FieldError, NotFound, ValidationFailed
from libs.common.schemas.account import Account, AccountStatus, Budget, Limits
from libs.common.schemas.price import AT_COST
from libs.common.web.json import json_response
from services.admin.budgets import (
    BudgetBody,
    Budgets,
    BudgetView,
    LimitsBody,
    budget_of,
    budget_view,
    budgets_of,
    limits_of,
)
from services.admin.fields import (
    Metadata,
    Multiplier,
    Name,
    ProviderObjects,
    TimeZone,
    UserId,
)
from services.admin.pages import PageQuery
from services.admin.spend import Spend, spend_of_accounts
from services.admin.state import State
from services.admin.validation import query_struct, read_struct


class NewAccount(msgspec.Struct, frozen=True, kw_only=True):
    """`name` defaults to the user_id. `budget` is short for one budget."""

    user_id: UserId
    name: Name | None = None
    status: AccountStatus = "active"
    budget: BudgetBody | None = None
    budgets: Budgets | None = None
    limits: LimitsBody | None = None
    time_zone: TimeZone = "UTC"
    price_multiplier: Multiplier = AT_COST
    provider_objects: ProviderObjects = ()
    metadata: Metadata | None = None


class AccountChanges(msgspec.Struct, frozen=True, kw_only=True):
    """An absent field stays as it is; `budget` replaces all budgets, and null removes them."""

    name: Name | UnsetType = UNSET
    status: AccountStatus | UnsetType = UNSET
    budget: BudgetBody | UnsetType | None = UNSET
    budgets: Budgets | UnsetType = UNSET
    limits: LimitsBody | UnsetType | None = UNSET
    time_zone: TimeZone | UnsetType = UNSET
    price_multiplier: Multiplier | UnsetType = UNSET
    provider_objects: ProviderObjects | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    name: str
    status: AccountStatus
    budget: BudgetView | None
    budgets: tuple[BudgetView, ...]
    limits: Limits
    time_zone: str
    price_multiplier: Decimal
    provider_objects: tuple[str, ...]
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
        budgets=_budgets(body.budget, body.budgets),
        limits=limits_of(body.limits),
        time_zone=body.time_zone,
        price_multiplier=plain(body.price_multiplier),
        provider_objects=body.provider_objects,
        metadata={} if body.metadata is None else body.metadata,
        created_at=now,
        updated_at=now,
    )
    if not await state["accounts"].insert(account):
        raise Conflict(f"The account '{body.user_id}' already exists.", param="user_id")
    return await _answer(state, account, status=201)


async def list_accounts(request: Request[State]) -> Response:
    state = request.state
    query = query_struct(request, PageQuery, state["now"]())
    fetched = await state["accounts"].list(after=query.after("user_id"), limit=query.fetch)
    views = await _views(state, query.page(fetched))
    return json_response(query.answer(fetched, views, "user_id"))


async def show_account(request: Request[State]) -> Response:
    account = await find_account(request.state, request.path_params["user_id"])
    return json_response((await _views(request.state, [account]))[0])


async def change_account(request: Request[State]) -> Response:
    state, user_id = request.state, request.path_params["user_id"]
    now = state["now"]()
    changes = changed_fields(await read_struct(request, AccountChanges, now))
    if "budget" in changes or "budgets" in changes:
        budgets = _budgets(changes.pop("budget", None), changes.get("budgets"))
        changes["budgets"] = msgspec.to_builtins(budgets)
    if "limits" in changes:
        changes["limits"] = msgspec.to_builtins(limits_of(changes["limits"]))
    if "price_multiplier" in changes:
        changes["price_multiplier"] = str(plain(changes["price_multiplier"]))
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
    """The fields that are set. Raises ValidationFailed if the body sets no field."""
    fields = {k: v for k, v in msgspec.structs.asdict(changes).items() if v is not UNSET}
    if not fields:
        known = ", ".join(changes.__struct_fields__)
        raise ValidationFailed([FieldError("body", f"must set at least one of {known}")])
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
        budget=budget_view(account.budgets[0]) if len(account.budgets) == 1 else None,
        budgets=tuple(map(budget_view, account.budgets)),
        limits=account.limits,
        time_zone=account.time_zone,
        price_multiplier=account.price_multiplier,
        provider_objects=account.provider_objects,
        metadata=account.metadata,
        spend=spend,
        created_at=account.created_at,
        updated_at=account.updated_at,
    )


def _budgets(one: BudgetBody | None, several: Sequence[BudgetBody] | None) -> tuple[Budget, ...]:
    """Raises ValidationFailed if both are given."""
    if one is not None and several is not None:
        raise ValidationFailed([FieldError("budget", "cannot be given together with budgets")])
    if one is not None:
        return (budget_of(one),)
    return budgets_of([] if several is None else several)
