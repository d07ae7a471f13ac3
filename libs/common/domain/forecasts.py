"""Whether a budget lasts, at the pace of yesterday and today.

Invariants: money is whole nano-USD, rounded down; what has been spent is never forecast to shrink.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

import msgspec

from libs.common.domain.periods import period_end, period_key
from libs.common.schemas.account import Budget

# `runs_out`: at this pace before the period ends, or where it never does within `TOTAL_HORIZON`.
Outlook = Literal["lasts", "runs_out", "exhausted"]
TOTAL_HORIZON = timedelta(days=30)
# Of an owner who has just been made, so that the first call makes no pace.
_SHORTEST = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """`expected_nusd` is what the period will have cost at its end; None where it never ends.

    `runs_out_at`, in whole seconds, is there where the outlook is `runs_out`.
    """

    outlook: Outlook
    expected_nusd: int | None
    runs_out_at: datetime | None


def pace_days(now: datetime, zone: tzinfo) -> tuple[str, str]:
    """The daily periods of yesterday and today."""
    today = now.astimezone(zone).replace(tzinfo=None)
    return (today - timedelta(days=1)).date().isoformat(), period_key("daily", now, zone)


def forecast(
    budget: Budget,
    *,
    spent_nusd: int,
    recent_nusd: int,
    now: datetime,
    zone: tzinfo,
    created_at: datetime,
) -> Forecast:
    """`recent_nusd` is what an owner, there since `created_at`, spent in `pace_days`."""
    end = period_end(budget.period, now, zone)
    elapsed_us = (now - min(_pace_since(now, zone, created_at), now - _SHORTEST)) // _MICROSECOND
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


def _pace_since(now: datetime, zone: tzinfo, created_at: datetime) -> datetime:
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    yesterday = (midnight - timedelta(days=1)).replace(tzinfo=zone).astimezone(UTC)
    return max(yesterday, created_at)
