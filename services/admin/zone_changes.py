"""Decides when an account may change its time zone: never so that a spent budget begins anew.

A budget counts what was spent in a period, which has its name by the account's calendar. Where the
other zone has another day already, its day has another name, and nothing spent. So a zone changes
while both calendars agree on the periods that have budgets, or before anything is spent in them.
"""

from datetime import datetime, timedelta, tzinfo

from libs.common.domain.periods import period_key, zone_of
from libs.common.errors import Conflict
from libs.common.schemas.account import Account, BudgetPeriod
from libs.common.schemas.key import ApiKey
from libs.common.storage.mongo.slices import Slice
from services.admin.state import State

_MAX_KEYS = 200
_STEP = timedelta(minutes=15)
_STEPS = 4 * 24 * 40
_PERIODS: tuple[BudgetPeriod, ...] = ("monthly", "weekly", "daily")


async def check_zone(state: State, account: Account, name: str) -> None:
    """Raises Conflict, which says when the zone can be changed."""
    now, before, after = state["now"](), zone_of(account.time_zone), zone_of(name)
    moved = [period for period in _PERIODS if not _agree(period, now, before, after)]
    if not moved:
        return
    budgeted = await _budgeted_periods(state, account)
    moved = [period for period in moved if period in budgeted]
    spent = await state["ledger"].spend_of(
        account.user_id, [period_key(period, now, before) for period in moved]
    )
    if not any(spent.values()):
        return
    until = next(
        (
            at
            for at in (now + step * _STEP for step in range(1, _STEPS))
            if all(_agree(period, at, before, after) for period in budgeted)
        ),
        None,
    )
    when = "" if until is None else f" It can be changed from about {until.isoformat()} on."
    raise Conflict(
        f"It is another day, week or month in {name}: a budget that was spent from would begin "
        f"anew.{when}",
        param="time_zone",
    )


async def _budgeted_periods(state: State, account: Account) -> set[BudgetPeriod]:
    """The periods of the account's budgets and of its keys'."""

    def has_budgets(key: ApiKey) -> bool:
        return bool(key.budgets)

    keys = await state["keys"].slice(
        Slice(limit=_MAX_KEYS), user_id=account.user_id, keep=has_budgets
    )
    if keys.rest is not None:
        return set(_PERIODS)
    budgets = [*account.budgets, *(budget for key in keys.rows for budget in key.budgets)]
    return {budget.period for budget in budgets} & set(_PERIODS)


def _agree(period: BudgetPeriod, at: datetime, one: tzinfo, other: tzinfo) -> bool:
    return period_key(period, at, one) == period_key(period, at, other)
