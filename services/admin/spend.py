"""What accounts and keys have spent, hold and have left, as responses show it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal

import msgspec
import structlog

from libs.common.domain.money import nusd_to_usd
from libs.common.domain.periods import days_of, period_end, period_key, zone_of
from libs.common.schemas.account import Account, Budget
from libs.common.schemas.key import ApiKey
from libs.common.schemas.spend import KeyPeriod
from libs.common.storage.redis.client import RedisError
from services.admin.state import State

log = structlog.get_logger(__name__)


class BudgetSpend(msgspec.Struct, frozen=True, kw_only=True):
    """One budget's current period; `remaining_usd` is null while Redis is unavailable."""

    period: str
    spent_usd: Decimal
    limit_usd: Decimal
    remaining_usd: Decimal | None
    ends_at: datetime | None


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
    """Of a key's own budgets. A key without budgets has no `held_usd` either."""

    budgets: tuple[BudgetSpend, ...]
    held_usd: Decimal | None


async def spend_of_accounts(state: State, accounts: Sequence[Account]) -> list[Spend]:
    """In the accounts' order."""
    now = state["now"]()
    held = await _held(state, [(account.user_id, None) for account in accounts])
    limited = [account for account in accounts if account.budgets]
    periods = {p for account in limited for p in _periods(account, now)}
    users = [account.user_id for account in limited]
    spent = await state["ledger"].spend_of_many(users, sorted(periods)) if users else {}
    return [_spend(account, now, spent, nusd) for account, nusd in zip(accounts, held, strict=True)]


async def spend_of_keys(state: State, keys: Sequence[ApiKey]) -> list[KeySpend]:
    """In the keys' order; periods are those of their accounts' time zones."""
    now = state["now"]()
    budgeted = [key for key in keys if key.budgets]
    if not budgeted:
        return [KeySpend(budgets=(), held_usd=None)] * len(keys)
    zones = await state["accounts"].time_zones(key.user_id for key in budgeted)
    held = await _held(state, [(key.user_id, key.key_id) for key in budgeted])
    spent = await _spent_by_keys(state, budgeted, zones, now)
    spends = {
        key.key_id: KeySpend(
            budgets=tuple(
                _budget_spend(budget, now, _zone(zones, key), spent[key.key_id, budget], nusd)
                for budget in key.budgets
            ),
            held_usd=_usd(nusd),
        )
        for key, nusd in zip(budgeted, held, strict=True)
    }
    return [spends.get(key.key_id, KeySpend(budgets=(), held_usd=None)) for key in keys]


async def _spent_by_keys(
    state: State, keys: Sequence[ApiKey], zones: Mapping[str, str], now: datetime
) -> dict[tuple[str, Budget], int]:
    rows = {
        (key.key_id, budget): KeyPeriod(
            key.user_id, key.key_id, days_of(period_key(budget.period, now, _zone(zones, key)))
        )
        for key in keys
        for budget in key.budgets
    }
    spent = await state["ledger"].spend_of_keys(set(rows.values()))
    return {of: spent[period].nusd for of, period in rows.items()}


def _zone(zones: Mapping[str, str], key: ApiKey) -> tzinfo:
    return zone_of(zones.get(key.user_id, "UTC"))


def _periods(account: Account, now: datetime) -> list[str]:
    zone = zone_of(account.time_zone)
    return [period_key(budget.period, now, zone) for budget in account.budgets]


async def _held(state: State, owners: Sequence[tuple[str, str | None]]) -> Sequence[int | None]:
    try:
        return await state["holds"].held_of_many(owners)
    except (RedisError, OSError) as error:
        log.warning("holds.unavailable", error=error)
        return [None] * len(owners)


def _spend(
    account: Account,
    now: datetime,
    spent: Mapping[tuple[str, str], int],
    held_nusd: int | None,
) -> Spend:
    zone = zone_of(account.time_zone)
    budgets = [
        _budget_spend(budget, now, zone, spent.get((account.user_id, period), 0), held_nusd)
        for budget, period in zip(account.budgets, _periods(account, now), strict=True)
    ]
    spend = Spend(
        total_usd=nusd_to_usd(account.spent_nusd),
        budgets=tuple(budgets),
        held_usd=_usd(held_nusd),
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


def _budget_spend(
    budget: Budget, now: datetime, zone: tzinfo, spent_nusd: int, held_nusd: int | None
) -> BudgetSpend:
    left = None if held_nusd is None else budget.limit_nusd - spent_nusd - held_nusd
    return BudgetSpend(
        period=period_key(budget.period, now, zone),
        spent_usd=nusd_to_usd(spent_nusd),
        limit_usd=nusd_to_usd(budget.limit_nusd),
        remaining_usd=_usd(left),
        ends_at=period_end(budget.period, now, zone),
    )


def _usd(nusd: int | None) -> Decimal | None:
    return None if nusd is None else nusd_to_usd(nusd)
