"""`/admin/accounts`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from libs.common.domain.money import plain_amount
from libs.common.errors import Conflict, FieldError, NotFound, ValidationFailed
from libs.common.schemas.account import Account, AccountName, AccountStatus, Budget, Limits
from libs.common.schemas.price import AT_COST
from libs.common.storage.mongo.account_spend import SpendingAccount
from libs.common.storage.mongo.slices import RowPlace, Rows, Slice, sliced
from services.admin.budgets import (
    BudgetBody,
    BudgetChanges,
    Budgets,
    BudgetView,
    LimitsBody,
    LimitsChanges,
    budget_of,
    budget_view,
    budgets_of,
    limits_of,
    merged_budget,
    merged_limits,
)
from services.admin.creations import creation_of
from services.admin.endpoints import Answer
from services.admin.fields import (
    Metadata,
    MetadataChanges,
    Name,
    ProviderObjects,
    SearchText,
    TimeZone,
    UserId,
    metadata_problem,
)
from services.admin.pages import Page, PageQuery, found_in
from services.admin.people.actor import actor_of
from services.admin.price_fields import Multiplier
from services.admin.revisions import changed, etag_of
from services.admin.spend import Spend, spend_of_accounts
from services.admin.state import State
from services.admin.zone_changes import check_zone


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
    """A merge patch: an absent field stays as it is, at every depth, and null removes one.

    `budgets` replaces all budgets, as `budget` does where there is not one before.
    """

    name: Name | UnsetType = UNSET
    status: AccountStatus | UnsetType = UNSET
    budget: BudgetChanges | UnsetType | None = UNSET
    budgets: Budgets | UnsetType = UNSET
    limits: LimitsChanges | UnsetType | None = UNSET
    time_zone: TimeZone | UnsetType = UNSET
    price_multiplier: Multiplier | UnsetType = UNSET
    provider_objects: ProviderObjects | UnsetType = UNSET
    metadata: MetadataChanges | UnsetType | None = UNSET


class AccountQuery(PageQuery, frozen=True, kw_only=True):
    """`q` is part of the user_id or the name. Archived accounts are shown where `status` asks."""

    q: SearchText | UnsetType = UNSET
    status: AccountStatus | UnsetType = UNSET
    sort: Literal["user_id", "-user_id", "created_at", "-created_at"] = "user_id"

    def wants(self, account: Account | AccountName) -> bool:
        if self.status is UNSET:
            has_status = account.status != "archived"
        else:
            has_status = account.status == self.status
        return has_status and found_in(self.q, account.user_id, account.name)


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


async def create_account(request: Request[State], body: NewAccount) -> Answer[AccountView]:
    state = request.state
    now = state["now"]()
    account = Account(
        user_id=body.user_id,
        name=body.user_id if body.name is None else body.name,
        status=body.status,
        budgets=_budgets(body.budget, body.budgets),
        limits=limits_of(body.limits),
        time_zone=body.time_zone,
        price_multiplier=plain_amount(body.price_multiplier),
        provider_objects=body.provider_objects,
        metadata={} if body.metadata is None else body.metadata,
        revision=creation_of(request).new_id,
        created_at=now,
        updated_at=now,
    )
    if not await state["accounts"].insert(account):
        before = await state["accounts"].get(body.user_id)
        if before is None or before.revision != account.revision:
            raise Conflict(f"The account '{body.user_id}' already exists.", param="user_id")
        # An earlier attempt of this request made it before its process died.
        account = before
    return await _answer(state, account)


async def list_accounts(request: Request[State], query: AccountQuery) -> Answer[Page[AccountView]]:
    reading = query.reading("user_id", query.sort)
    found = await _within_reach(request, query, reading.slice)
    return Answer(reading.page(found, await _views(request.state, found.rows)))


async def _within_reach(
    request: Request[State], query: AccountQuery, part: Slice
) -> Rows[SpendingAccount]:
    """The accounts that the query wants and the actor reaches."""
    accounts, user_ids = request.state["accounts"], actor_of(request).accounts
    if user_ids is None:
        read = accounts.slice if query.q is UNSET else accounts.search
        status = None if query.status is UNSET else query.status
        return await read(part, keep=query.wants, status=status)
    found = filter(query.wants, await accounts.get_many(user_ids))

    def place_of(account: Account) -> RowPlace:
        return RowPlace(
            account.user_id if part.field == "_id" else account.created_at, account.user_id
        )

    return sliced(found, part, place_of)


async def show_account(request: Request[State]) -> Answer[AccountView]:
    account = await find_account(request.state, request.path_params["user_id"])
    return Answer((await _views(request.state, [account]))[0], headers=etag_of(account))


async def change_account(request: Request[State], body: AccountChanges) -> Answer[AccountView]:
    state, user_id = request.state, request.path_params["user_id"]
    now = state["now"]()
    changes = changed_fields(body)
    if "budget" in changes and "budgets" in changes:
        raise ValidationFailed([FieldError("budget", "cannot be given together with budgets")])

    async def change(before: Account) -> Account | None:
        if changes.get("time_zone", before.time_zone) != before.time_zone:
            await check_zone(state, before, changes["time_zone"])
        fields = {**_stored_fields(before, changes), "revision": state["new_id"]()}
        return await state["accounts"].update(user_id, fields, now, revision=before.revision)

    account = await changed(request, lambda: find_account(state, user_id), change)
    return await _answer(state, account)


def _stored_fields(before: Account, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changed fields in their stored form. Raises ValidationFailed."""
    fields = dict(changes)
    if "budget" in fields:
        budgets = merged_budget(before.budgets, fields.pop("budget"))
        fields["budgets"] = msgspec.to_builtins(budgets)
    elif "budgets" in fields:
        fields["budgets"] = msgspec.to_builtins(budgets_of(fields["budgets"]))
    if "limits" in fields:
        fields["limits"] = msgspec.to_builtins(merged_limits(before.limits, fields["limits"]))
    if "metadata" in fields:
        fields["metadata"] = _merged_metadata(before.metadata, fields["metadata"])
    if "price_multiplier" in fields:
        fields["price_multiplier"] = str(plain_amount(fields["price_multiplier"]))
    return fields


def _merged_metadata(
    metadata: Mapping[str, str], changes: Mapping[str, str | None] | None
) -> dict[str, str]:
    """Raises ValidationFailed."""
    merged = {} if changes is None else {**metadata, **changes}
    kept = {key: text for key, text in merged.items() if text is not None}
    problem = metadata_problem(kept)
    if problem is not None:
        raise ValidationFailed([FieldError("metadata", problem)])
    return kept


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


async def _answer(state: State, account: Account) -> Answer[AccountView]:
    headers = await state["announcer"].announce("account", [account.user_id])
    headers = etag_of(account) | headers
    views = await _views(state, [account])
    return Answer(views[0], headers=headers)


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
