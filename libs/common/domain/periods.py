"""Budget periods. A call belongs, for good, to the periods in which it started.

Invariants: period keys are unique across kinds, and a key's period never changes; a new period
starts at zero because nothing was ever added to its key.
"""

from datetime import UTC, datetime, timedelta

from libs.common.schemas.account import BudgetPeriod

PERIODS: tuple[BudgetPeriod, ...] = ("total", "monthly", "weekly", "daily")


def period_key(period: BudgetPeriod, at: datetime) -> str:
    """`total`, `2026-11`, `2026-W48` (ISO week) or `2026-11-24`, in UTC."""
    day = at.astimezone(UTC)
    match period:
        case "total":
            return "total"
        case "monthly":
            return f"{day.year:04d}-{day.month:02d}"
        case "weekly":
            year, week, _ = day.isocalendar()
            return f"{year:04d}-W{week:02d}"
        case "daily":
            return f"{day.year:04d}-{day.month:02d}-{day.day:02d}"


def period_keys(at: datetime) -> tuple[str, ...]:
    """The keys of every period that a call started at `at` counts in."""
    return tuple(period_key(period, at) for period in PERIODS)


def period_end(period: BudgetPeriod, at: datetime) -> datetime | None:
    """The first moment after the period; None for `total`, which never ends."""
    midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case "total":
            return None
        case "monthly":
            return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
        case "weekly":
            return midnight + timedelta(days=7 - midnight.weekday())
        case "daily":
            return midnight + timedelta(days=1)
