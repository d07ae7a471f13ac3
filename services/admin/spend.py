"""How much accounts have spent, hold and have left, as the answers show it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
import structlog

from libs.common.domain.money import nusd_to_usd
from libs.common.domain.periods import period_end, period_key, zone_of
from libs.common.schemas.account import Account
from libs.common.storage.redis import RedisError
from services.admin.state import State

log = structlog.get_logger(__name__)


class BudgetSpend(msgspec.Struct, frozen=True, kw_only=True):
    """One budget's current period; `remaining_usd` is null while Redis cannot be reached."""

    period: str
    spent_usd: Decimal
    limit_usd: Decimal
    remaining_usd: Decimal | None
    ends_at: datetime | None


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """`held_usd` is what calls under way hold, null while Redis cannot be reached.

    The fields after it are those of the first budget, null without one.
    """

    total_usd: Decimal
    budgets: tuple[BudgetSpend, ...]
    held_usd: Decimal | None
    period: str | None = None
    period_usd: Decimal | None = None
    period_ends_at: datetime | None = None
    remaining_usd: Decimal | None = None


async def spend_of_accounts(state: State, accounts: Sequence[Account]) -> list[Spend]:
    """In the accounts' order."""
    now = state["now"]()
    held = await _held(state, accounts)
    limited = [account for account in accounts if account.budgets]
    periods = {p for account in limited for p in _periods(account, now)}
    users = [account.user_id for account in limited]
    spent = await state["ledger"].spend_of_many(users, sorted(periods)) if users else {}
    return [_spend(account, now, spent, nusd) for account, nusd in zip(accounts, held, strict=True)]


def _periods(account: Account, now: datetime) -> list[str]:
    zone = zone_of(account.time_zone)
    return [period_key(budget.period, now, zone) for budget in account.budgets]


async def _held(state: State, accounts: Sequence[Account]) -> Sequence[int | None]:
    try:
        return await state["holds"].held_of_many([account.user_id for account in accounts])
    except (RedisError, OSError) as error:
        log.warning("holds.unavailable", error=str(error)[:300])
        return [None] * len(accounts)


def _spend(
    account: Account,
    now: datetime,
    spent: Mapping[tuple[str, str], int],
    held_nusd: int | None,
) -> Spend:
    zone = zone_of(account.time_zone)
    budgets = []
    for budget, period in zip(account.budgets, _periods(account, now), strict=True):
        nusd = spent.get((account.user_id, period), 0)
        left = None if held_nusd is None else budget.limit_nusd - nusd - held_nusd
        budgets.append(
            BudgetSpend(
                period=period,
                spent_usd=nusd_to_usd(nusd),
                limit_usd=nusd_to_usd(budget.limit_nusd),
                remaining_usd=None if left is None else nusd_to_usd(left),
                ends_at=period_end(budget.period, now, zone),
            )
        )
    spend = Spend(
        total_usd=nusd_to_usd(account.spent_nusd),
        budgets=tuple(budgets),
        held_usd=None if held_nusd is None else nusd_to_usd(held_nusd),
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
