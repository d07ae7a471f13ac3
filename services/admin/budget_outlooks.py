"""`GET /admin/budgets`: budgets of accounts or of keys with their outlook, all or those at risk.

That a budget is at risk follows from its limit, its spend and the time, so no index knows it: what
each owner spent has to be read. A page therefore looks at a bounded number of owners.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from starlette.requests import Request

from libs.common.schemas.account import Account, Budget, BudgetPeriod
from libs.common.schemas.key import ApiKey
from services.admin.accounts import find_account
from services.admin.endpoints import Answer
from services.admin.fields import UserId
from services.admin.pages import Page, PageQuery, cursor_of, place_of
from services.admin.spend import BudgetSpend, spend_of_accounts, spend_of_keys
from services.admin.state import State

Owner = Account | ApiKey

_LOOKED_AT = 1_000
_READ_AT_ONCE = 200


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
    state, kind = request.state, f"budgets of {query.of}"
    after, looked_at, has_more = place_of(kind, query.cursor), 0, True
    if query.user_id is not None:
        await find_account(state, query.user_id)
    chosen: list[list[OwnedBudget]] = []
    while has_more and len(chosen) < query.limit and looked_at < _LOOKED_AT:
        owners = await _owners(state, query, after)
        has_more = len(owners) == _READ_AT_ONCE
        for owner, budgets in zip(owners, await _budgets(state, owners), strict=True):
            if len(chosen) == query.limit:
                has_more = True
                break
            shown = [budget for budget in budgets if not query.at_risk or _is_at_risk(budget)]
            after, looked_at = _id_of(owner), looked_at + 1
            chosen += [shown] if shown else []
    return Answer(
        Page(
            data=tuple(budget for budgets in chosen for budget in budgets),
            # It leads forwards only.
            previous_cursor=None,
            next_cursor=cursor_of(kind, after) if has_more and after is not None else None,
        )
    )


def _is_at_risk(budget: BudgetSpend) -> bool:
    return budget.outlook != "lasts"


async def _owners(state: State, query: BudgetQuery, after: str | None) -> Sequence[Owner]:
    if query.of == "key":
        return await state["keys"].with_budgets(
            user_id=query.user_id, after=after, limit=_READ_AT_ONCE
        )
    if query.user_id is None:
        return await state["accounts"].with_budgets(after=after, limit=_READ_AT_ONCE)
    return [await find_account(state, query.user_id)] if after is None else []


async def _budgets(state: State, owners: Sequence[Owner]) -> list[list[OwnedBudget]]:
    accounts = [owner for owner in owners if isinstance(owner, Account)]
    keys = [owner for owner in owners if isinstance(owner, ApiKey)]
    of_accounts = await spend_of_accounts(state, accounts) if accounts else []
    of_keys = await spend_of_keys(state, keys, totals=False)
    shown = [spend.budgets for spend in of_accounts] + [spend.budgets for spend in of_keys]
    return [
        [_owned(owner, *pair) for pair in zip(owner.budgets, budgets, strict=True)]
        for owner, budgets in zip(owners, shown, strict=True)
    ]


def _owned(owner: Owner, budget: Budget, spend: BudgetSpend) -> OwnedBudget:
    return OwnedBudget(
        **msgspec.structs.asdict(spend),
        user_id=owner.user_id,
        key_id=owner.key_id if isinstance(owner, ApiKey) else None,
        budget_period=budget.period,
    )


def _id_of(owner: Owner) -> str:
    return owner.key_id if isinstance(owner, ApiKey) else owner.user_id
