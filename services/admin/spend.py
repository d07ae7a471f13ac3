"""How much accounts have spent, hold and have left, as the answers show it."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
import structlog

from libs.common.domain.money import nusd_to_usd
from libs.common.domain.periods import period_end, period_key
from libs.common.schemas.account import Account
from libs.common.storage.redis import RedisError
from services.admin.state import State

log = structlog.get_logger(__name__)


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """The period's fields follow the budget and are null without one; `held_usd` is null, and so
    is what depends on it, while Redis cannot be reached."""

    total_usd: Decimal
    period: str | None
    period_usd: Decimal | None
    period_ends_at: datetime | None
    held_usd: Decimal | None
    remaining_usd: Decimal | None


async def spend_of_accounts(state: State, accounts: Sequence[Account]) -> list[Spend]:
    """In the accounts' order."""
    now = state["now"]()
    held = await _held(state, accounts)
    budgets = {a.user_id: period_key(a.budget.period, now) for a in accounts if a.budget}
    periods = sorted(set(budgets.values()))
    spent = await state["ledger"].spend_of_many(sorted(budgets), periods) if budgets else {}
    return [
        _spend(
            account, now, spent.get((account.user_id, budgets.get(account.user_id, "")), 0), nusd
        )
        for account, nusd in zip(accounts, held, strict=True)
    ]


async def _held(state: State, accounts: Sequence[Account]) -> Sequence[int | None]:
    try:
        return await state["holds"].held_of_many([account.user_id for account in accounts])
    except (RedisError, OSError) as error:
        log.warning("holds.unavailable", error=str(error)[:300])
        return [None] * len(accounts)


def _spend(account: Account, now: datetime, period_nusd: int, held_nusd: int | None) -> Spend:
    budget = account.budget
    held_usd = None if held_nusd is None else nusd_to_usd(held_nusd)
    total_usd = nusd_to_usd(account.spent_nusd)
    if budget is None:
        return Spend(
            total_usd=total_usd,
            period=None,
            period_usd=None,
            period_ends_at=None,
            held_usd=held_usd,
            remaining_usd=None,
        )
    remaining_usd = None
    if held_nusd is not None:
        remaining_usd = nusd_to_usd(budget.limit_nusd - period_nusd - held_nusd)
    return Spend(
        total_usd=total_usd,
        period=period_key(budget.period, now),
        period_usd=nusd_to_usd(period_nusd),
        period_ends_at=period_end(budget.period, now),
        held_usd=held_usd,
        remaining_usd=remaining_usd,
    )
