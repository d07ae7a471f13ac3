"""Spend, remainder and forecast of a budget of an account or of a key."""

from datetime import datetime
from decimal import Decimal

import msgspec

from libs.common.domain.forecasts import Forecast, Outlook, Present, forecast
from libs.common.domain.money import nusd_to_usd
from libs.common.schemas.account import Budget


class BudgetSpend(msgspec.Struct, frozen=True, kw_only=True):
    """One budget's current period; `remaining_usd` is null while Redis is unavailable.

    At the pace of yesterday and today, the period will have cost `expected_usd` at its end (null
    for `total`, which has none), and the limit is reached at `runs_out_at`, where that is before.
    """

    period: str
    spent_usd: Decimal
    limit_usd: Decimal
    remaining_usd: Decimal | None
    ends_at: datetime | None
    outlook: Outlook
    expected_usd: Decimal | None
    runs_out_at: datetime | None


class BudgetOwner(msgspec.Struct, frozen=True, kw_only=True):
    """An account or a key; `recent_nusd` is what it spent in the days of the pace."""

    present: Present
    created_at: datetime
    recent_nusd: int
    held_nusd: int | None


def forecast_of(budget: Budget, owner: BudgetOwner, spent_nusd: int) -> Forecast:
    return forecast(
        budget,
        owner.present,
        spent_nusd=spent_nusd,
        recent_nusd=owner.recent_nusd,
        created_at=owner.created_at,
    )


def budget_spend(budget: Budget, owner: BudgetOwner, spent_nusd: int) -> BudgetSpend:
    held_nusd, present = owner.held_nusd, owner.present
    remaining_nusd = None if held_nusd is None else budget.limit_nusd - spent_nusd - held_nusd
    found = forecast_of(budget, owner, spent_nusd)
    return BudgetSpend(
        period=present.keys[budget.period],
        spent_usd=nusd_to_usd(spent_nusd),
        limit_usd=nusd_to_usd(budget.limit_nusd),
        remaining_usd=usd_or_none(remaining_nusd),
        ends_at=present.ends[budget.period],
        outlook=found.outlook,
        expected_usd=usd_or_none(found.expected_nusd),
        runs_out_at=found.runs_out_at,
    )


def usd_or_none(nusd: int | None) -> Decimal | None:
    return None if nusd is None else nusd_to_usd(nusd)
