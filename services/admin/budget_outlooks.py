"""`GET /admin/budgets`: budgets of accounts or of keys with their outlook, all or those at risk.

Whether a budget is at risk follows from its limit, its spend and the time, so no index has it: each
owner's spend must be read. A page therefore reads a bounded number of owners.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from starlette.requests import Request

from libs.common.domain.periods import present_periods
from libs.common.schemas.account import Account, Budget, BudgetPeriod
from libs.common.schemas.key import ApiKey
from libs.common.storage.mongo.slices import RowPlace, Rows, Slice, by_id
from services.admin.accounts import find_account
from services.admin.budget_spend import BudgetSpend
from services.admin.endpoints import Answer
from services.admin.fields import UserId
from services.admin.pages import Page, PageQuery
from services.admin.spend import accounts_at_risk, spend_of_accounts, spend_of_keys
from services.admin.state import State

OutlookOwner = Account | ApiKey

_LOOKED_AT = 1_000
# Whether only those at risk are wanted, for which most owners are read and not shown.
_READ_AT_ONCE = {False: 200, True: _LOOKED_AT}


class BudgetQuery(PageQuery, frozen=True, kw_only=True):
    """`at_risk` leaves budgets that are exhausted or run out; `limit` counts their owners."""

    of: Literal["account", "key"] = "account"
    user_id: UserId | None = None
    at_risk: bool = False


class OwnedBudget(BudgetSpend, frozen=True, kw_only=True):
    """`key_id` is null where the budget is the account's."""

    user_id: str
    key_id: str | None
    budget_period: BudgetPeriod


async def list_budgets(request: Request[State], query: BudgetQuery) -> Answer[Page[OwnedBudget]]:
    """In the order of user_id or key_id, of those that have budgets."""
    state = request.state
    if query.user_id is not None:
        await find_account(state, query.user_id)
    reading = query.reading(f"budgets of {query.of}")
    found = await _found(state, query, reading.slice)
    page = reading.page(found, found.rows)
    data = tuple([budget for budgets in page.data for budget in budgets])
    return Answer(
        Page(data=data, next_cursor=page.next_cursor, previous_cursor=page.previous_cursor)
    )


async def _found(state: State, query: BudgetQuery, part: Slice) -> Rows[Sequence[OwnedBudget]]:
    """The budgets that are shown, by owner."""
    rows: list[Sequence[OwnedBudget]] = []
    first: RowPlace | None = None
    last, looked_at = part.start, 0
    while looked_at < _LOOKED_AT:
        next_slice = msgspec.structs.replace(part, start=last, limit=_READ_AT_ONCE[query.at_risk])
        if looked_at:
            next_slice = msgspec.structs.replace(next_slice, inclusive=False)
        owners, candidates = await _owners(state, query, next_slice)
        budgets = await _budgets(state, candidates)
        for owner_id in owners:
            row = [
                budget
                for budget in budgets.get(owner_id, ())
                if not query.at_risk or _is_at_risk(budget)
            ]
            if row and len(rows) == part.limit:
                return Rows(rows=rows, first=first, rest=last)
            last, looked_at = by_id(owner_id), looked_at + 1
            if row:
                rows.append(row)
                first = first or last
        if len(owners) < next_slice.limit:
            return Rows(rows=rows, first=first, rest=None)
    return Rows(rows=rows, first=first, rest=last)


def _is_at_risk(budget: BudgetSpend) -> bool:
    return budget.outlook != "lasts"


async def _owners(
    state: State, query: BudgetQuery, part: Slice
) -> tuple[Sequence[str], Sequence[OutlookOwner]]:
    """The ids of the next owners, and those of them that may be shown."""
    if query.of == "key":
        keys = await state["keys"].with_budgets(part, user_id=query.user_id)
        return [key.key_id for key in keys], keys
    if query.user_id is not None:
        account = await find_account(state, query.user_id)
        one = [account] if part.covers(by_id(account.user_id)) else []
        return [account.user_id for account in one], one
    now = state["now"]()
    accounts = await state["accounts"].with_budgets(part, present_periods(now))
    owners = [account.user_id for account, _ in accounts]
    user_ids = await accounts_at_risk(state, accounts, now) if query.at_risk else owners
    return owners, await state["accounts"].get_many(user_ids) if user_ids else []


async def _budgets(state: State, owners: Sequence[OutlookOwner]) -> dict[str, list[OwnedBudget]]:
    """By user_id or key_id."""
    accounts = [owner for owner in owners if isinstance(owner, Account)]
    keys = [owner for owner in owners if isinstance(owner, ApiKey)]
    of_accounts = await spend_of_accounts(state, accounts) if accounts else []
    of_keys = await spend_of_keys(state, keys, totals=False) if keys else []
    budget_spends = [spend.budgets for spend in of_accounts] + [spend.budgets for spend in of_keys]
    return {
        _id_of(owner): [_owned(owner, *pair) for pair in zip(owner.budgets, budgets, strict=True)]
        for owner, budgets in zip(owners, budget_spends, strict=True)
    }


def _owned(owner: OutlookOwner, budget: Budget, spend: BudgetSpend) -> OwnedBudget:
    return OwnedBudget(
        **msgspec.structs.asdict(spend),
        user_id=owner.user_id,
        key_id=owner.key_id if isinstance(owner, ApiKey) else None,
        budget_period=budget.period,
    )


def _id_of(owner: OutlookOwner) -> str:
    return owner.key_id if isinstance(owner, ApiKey) else owner.user_id
