"""Spend, holds and remainders of accounts and keys in responses."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
import structlog
from msgspec import UNSET, UnsetType

from libs.common.domain.forecasts import Present, presents_of
from libs.common.domain.money import nusd_to_usd
from libs.common.domain.periods import days_of
from libs.common.schemas.account import Account, Budget, BudgetedAccount
from libs.common.schemas.key import ApiKey
from libs.common.schemas.spend import KeyPeriod
from libs.common.storage.mongo.account_spend import SpendingAccount
from libs.common.storage.mongo.driver import Document
from libs.common.storage.redis.client import RedisError
from services.admin.budget_spend import (
    BudgetOwner,
    BudgetSpend,
    budget_spend,
    forecast_of,
    usd_or_none,
)
from services.admin.state import State

_Budgeted = Account | BudgetedAccount

log = structlog.get_logger(__name__)


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """`held_usd` is what calls under way hold, null while Redis is unavailable.

    The fields after it are those of the first budget, null without one.
    """

    total_usd: Decimal
    budgets: tuple[BudgetSpend, ...]
    held_usd: Decimal | None
    period: str | None = None
    period_usd: Decimal | None = None
    period_ends_at: datetime | None = None
    remaining_usd: Decimal | None = None


class KeySpend(msgspec.Struct, frozen=True, kw_only=True):
    """Of a key's own budgets. A key without budgets has no `held_usd` either.

    `total_usd` is what it ever spent; lists leave it out.
    """

    total_usd: Decimal | UnsetType = UNSET
    budgets: tuple[BudgetSpend, ...]
    held_usd: Decimal | None


async def spend_of_accounts(state: State, accounts: Sequence[Account]) -> list[Spend]:
    """In the accounts' order. What they spent is read of those that were read without it."""
    presents = presents_of((account.time_zone for account in accounts), state["now"]())
    held = await _holds(state, [(account.user_id, None) for account in accounts])
    limited = [account for account in accounts if account.budgets]
    users = [account.user_id for account in limited]
    periods = _all_periods(limited, presents)
    documents = {a.user_id: a.spend_document for a in limited if isinstance(a, SpendingAccount)}
    spent = await state["ledger"].spend_of_many(users, periods, documents) if users else {}
    return [
        _spend(account, _owner_of(account, presents, spent, nusd), spent)
        for account, nusd in zip(accounts, held, strict=True)
    ]


async def accounts_at_risk(
    state: State, accounts: Sequence[tuple[BudgetedAccount, Document]], now: datetime
) -> list[str]:
    """The ids of those with a budget that is exhausted or runs out; each is given with its document
    for `present_periods`. What they hold does not matter, so that Redis need not be asked.
    """
    presents = presents_of((account.time_zone for account, _ in accounts), now)
    periods = _all_periods([account for account, _ in accounts], presents)
    documents = [document for _, document in accounts]
    spent = await state["ledger"].spend_of_documents(documents, periods)
    return [
        account.user_id
        for account, _ in accounts
        if _is_at_risk(account, _owner_of(account, presents, spent, held_nusd=None), spent)
    ]


def _is_at_risk(
    account: BudgetedAccount, owner: BudgetOwner, spent: Mapping[tuple[str, str], int]
) -> bool:
    budgets = _spent_of_budgets(account, owner.present, spent)
    return any(forecast_of(budget, owner, nusd).outlook != "lasts" for budget, nusd in budgets)


async def spend_of_keys(
    state: State, keys: Sequence[ApiKey], *, totals: bool = True
) -> list[KeySpend]:
    """In the keys' order; periods are those of their accounts' time zones."""
    budgeted = [key for key in keys if key.budgets]
    zones = await state["accounts"].time_zones(key.user_id for key in budgeted) if budgeted else {}
    presents = presents_of({"UTC", *zones.values()}, state["now"]())

    def present_of(key: ApiKey) -> Present:
        return presents[zones.get(key.user_id, "UTC")]

    held = dict[str, int | None]()
    if budgeted:
        amounts = await _holds(state, [(key.user_id, key.key_id) for key in budgeted])
        held = {key.key_id: nusd for key, nusd in zip(budgeted, amounts, strict=True)}
    periods = {
        KeyPeriod(key.user_id, key.key_id, days)
        for key in keys
        for days in (*_days_of_key(key, present_of(key)), *([None] if totals else []))
    }
    spent = await state["ledger"].spend_of_keys(periods) if periods else {}

    def spent_of(key: ApiKey, days: tuple[str, str] | None) -> int:
        return spent[KeyPeriod(key.user_id, key.key_id, days)].nusd

    def spend_of(key: ApiKey) -> KeySpend:
        present = present_of(key)
        owner = BudgetOwner(
            present=present,
            created_at=key.created_at,
            recent_nusd=spent_of(key, present.pace_days) if key.budgets else 0,
            held_nusd=held.get(key.key_id),
        )
        days = _days_of_key(key, present)
        return KeySpend(
            total_usd=nusd_to_usd(spent_of(key, None)) if totals else UNSET,
            budgets=tuple(
                budget_spend(budget, owner, spent_of(key, of_budget))
                for budget, of_budget in zip(key.budgets, days, strict=False)
            ),
            held_usd=usd_or_none(owner.held_nusd),
        )

    return [spend_of(key) for key in keys]


def _days_of_key(key: ApiKey, present: Present) -> list[tuple[str, str] | None]:
    """Of its budgets, in their order, and of its pace."""
    if not key.budgets:
        return []
    of_budgets = [days_of(present.keys[budget.period]) for budget in key.budgets]
    return [*of_budgets, present.pace_days]


def _all_periods(accounts: Iterable[_Budgeted], presents: Mapping[str, Present]) -> list[str]:
    """Of the accounts' budgets, and of their paces."""
    periods = set[str]()
    for zone, period in {(a.time_zone, budget.period) for a in accounts for budget in a.budgets}:
        periods.update((presents[zone].keys[period], *presents[zone].pace_days))
    return sorted(periods)


def _spent_of_budgets(
    account: _Budgeted, present: Present, spent: Mapping[tuple[str, str], int]
) -> list[tuple[Budget, int]]:
    """Each budget, in their order, with what its period has cost in nano-USD."""
    return [
        (budget, spent.get((account.user_id, present.keys[budget.period]), 0))
        for budget in account.budgets
    ]


async def _holds(state: State, owners: Sequence[tuple[str, str | None]]) -> Sequence[int | None]:
    try:
        return await state["holds"].held_of_many(owners)
    except (RedisError, OSError) as error:
        log.warning("holds.unavailable", error=error)
        return [None] * len(owners)


def _spend(account: Account, owner: BudgetOwner, spent: Mapping[tuple[str, str], int]) -> Spend:
    budgets = [
        budget_spend(budget, owner, nusd)
        for budget, nusd in _spent_of_budgets(account, owner.present, spent)
    ]
    spend = Spend(
        total_usd=nusd_to_usd(account.spent_nusd),
        budgets=tuple(budgets),
        held_usd=usd_or_none(owner.held_nusd),
    )
    if not budgets:
        return spend
    first = budgets[0]
    return msgspec.structs.replace(
        spend,
        period=first.period,
        period_usd=first.spent_usd,
        period_ends_at=first.ends_at,
        remaining_usd=first.remaining_usd,
    )


def _owner_of(
    account: _Budgeted,
    presents: Mapping[str, Present],
    spent: Mapping[tuple[str, str], int],
    held_nusd: int | None,
) -> BudgetOwner:
    present = presents[account.time_zone]
    yesterday, today = present.pace_days
    recent = spent.get((account.user_id, yesterday), 0) + spent.get((account.user_id, today), 0)
    return BudgetOwner(
        present=present,
        created_at=account.created_at,
        recent_nusd=recent,
        held_nusd=held_nusd,
    )
