"""Forecasts whether a budget lasts, at the pace of yesterday and today.

Invariants: money is whole nano-USD, rounded down; what has been spent is never forecast to shrink.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

import msgspec

from libs.common.domain.periods import PERIODS, period_end, period_key, posting_zone
from libs.common.schemas.account import Budget, BudgetPeriod

# `runs_out`: at this pace before the period ends, or where it never does within `TOTAL_HORIZON`.
Outlook = Literal["lasts", "runs_out", "exhausted"]
TOTAL_HORIZON = timedelta(days=30)
# The shortest time that makes a pace, so a new owner's first call makes none.
_SHORTEST = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """`expected_nusd` is what the period will have cost at its end; None where it never ends.

    `runs_out_at`, in whole seconds, is there where the outlook is `runs_out`.
    """

    outlook: Outlook
    expected_nusd: int | None
    runs_out_at: datetime | None


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """`now` by the calendar of a zone: the keys and ends of the budget periods that contain it.

    `pace_days` are the daily periods of yesterday and today, which began at `pace_since`.
    """

    now: datetime
    keys: Mapping[BudgetPeriod, str]
    ends: Mapping[BudgetPeriod, datetime | None]
    pace_days: tuple[str, str]
    pace_since: datetime


def present_in(zone: tzinfo, now: datetime) -> Present:
    keys = {period: period_key(period, now, zone) for period in PERIODS}
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    yesterday = midnight - timedelta(days=1)
    return Present(
        now=now,
        keys=keys,
        ends={period: period_end(period, now, zone) for period in PERIODS},
        pace_days=(yesterday.date().isoformat(), keys["daily"]),
        pace_since=yesterday.replace(tzinfo=zone).astimezone(UTC),
    )


def presents_of(zones: Iterable[str], now: datetime) -> dict[str, Present]:
    """By the names of the zones, each of which many owners may have."""
    return {name: present_in(posting_zone(name), now) for name in set(zones)}


def forecast(
    budget: Budget,
    present: Present,
    *,
    spent_nusd: int,
    recent_nusd: int,
    created_at: datetime,
) -> Forecast:
    """`recent_nusd` is what an owner, there since `created_at`, spent in the days of the pace."""
    now, end = present.now, present.ends[budget.period]
    since = min(max(present.pace_since, created_at), now - _SHORTEST)
    elapsed_us = (now - since) // _MICROSECOND
    recent_nusd = max(recent_nusd, 0)
    expected_nusd = None
    if end is not None:
        expected_nusd = spent_nusd + recent_nusd * ((end - now) // _MICROSECOND) // elapsed_us
    left_nusd = budget.limit_nusd - spent_nusd
    if left_nusd <= 0:
        return Forecast(outlook="exhausted", expected_nusd=expected_nusd, runs_out_at=None)
    horizon = TOTAL_HORIZON if end is None else end - now
    # Compared as numbers: a tiny pace leads beyond what a calendar has.
    if left_nusd * elapsed_us >= recent_nusd * (horizon // _MICROSECOND):
        return Forecast(outlook="lasts", expected_nusd=expected_nusd, runs_out_at=None)
    runs_out_at = now + left_nusd * elapsed_us // recent_nusd * _MICROSECOND
    return Forecast(
        outlook="runs_out",
        expected_nusd=expected_nusd,
        runs_out_at=runs_out_at.replace(microsecond=0),
    )
