"""Budget periods. A call belongs, for good, to the periods in which it started.

Invariants: period keys are unique across kinds, and a key's period never changes; a new period
starts at zero because its key is new.
"""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from libs.common.schemas.account import BudgetPeriod

PERIODS: tuple[BudgetPeriod, ...] = ("total", "monthly", "weekly", "daily")
DAILY = PERIODS.index("daily")
# No zone is further from UTC.
_ANY_ZONE = timedelta(hours=14)
_FIRST_YEAR, _LAST_YEAR = 1970, 9990
# A month, a week or a day.
PERIOD_KEY = re.compile(r"[0-9]{4}-(?:[0-9]{2}(?:-[0-9]{2})?|W[0-9]{2})")


def zone_of(name: str) -> tzinfo:
    """Returns an IANA time zone. Raises ValueError for an unknown zone."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError(f"unknown time zone '{name[:64]}'") from None


def posting_zone(name: str) -> tzinfo:
    """As `zone_of`; a zone that this machine does not know is read as UTC: calls must be posted."""
    try:
        return zone_of(name)
    except ValueError:
        return UTC


def period_key(period: BudgetPeriod, at: datetime, zone: tzinfo = UTC) -> str:
    """`total`, `2026-11`, `2026-W48` (ISO week) or `2026-11-24`, by the zone's calendar."""
    return _key_of_day(period, at.astimezone(zone))


def _key_of_day(period: BudgetPeriod, day: date) -> str:
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


def period_keys(at: datetime, zone: tzinfo = UTC) -> tuple[str, ...]:
    """The keys of the periods that contain `at`, in the order of PERIODS."""
    return _keys_of_day(at.astimezone(zone).date())


# Concurrent calls belong to few days.
@lru_cache(maxsize=64)
def _keys_of_day(day: date) -> tuple[str, ...]:
    return tuple([_key_of_day(period, day) for period in PERIODS])


def longest_days(key: str) -> int | None:
    """How many days a period of the key's kind has at most; None for `total`, which never ends."""
    if not PERIOD_KEY.fullmatch(key):
        return None
    if "W" in key:
        return 7
    return 31 if key.count("-") == 1 else 1


def present_periods(at: datetime) -> list[str]:
    """The keys of the periods that contain `at` or the day before, in any zone."""
    first, last = at - _ANY_ZONE - timedelta(days=1), at + _ANY_ZONE
    days = range((last.date() - first.date()).days + 1)
    return sorted({key for day in days for key in period_keys(first + timedelta(days=day))})


def period_end(period: BudgetPeriod, at: datetime, zone: tzinfo = UTC) -> datetime | None:
    """The first moment after the period, in UTC; None for `total`, which never ends."""
    midnight = at.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if period == "total":
        return None
    match period:
        case "monthly":
            end = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
        case "weekly":
            end = midnight + timedelta(days=7 - midnight.weekday())
        case _:
            end = midnight + timedelta(days=1)
    # Local midnights are not always 24 hours apart, so the arithmetic was without a zone.
    return end.replace(tzinfo=zone).astimezone(UTC)


def hour_of(at: datetime, zone: tzinfo = UTC) -> datetime:
    """The start, in UTC, of the hour of the zone's clock in which `at` is."""
    # Of an hour that comes twice, `replace` keeps which one it is.
    return at.astimezone(zone).replace(minute=0, second=0, microsecond=0).astimezone(UTC)


def days_of(period: str) -> tuple[str, str] | None:
    """The first and the last daily key within the period of that key; None for `total`."""
    if period == "total":
        return None
    year, _, rest = period.partition("-")
    if rest.startswith("W"):
        first = date.fromisocalendar(int(year), int(rest[1:]), 1)
        return first.isoformat(), (first + timedelta(days=6)).isoformat()
    if "-" in rest:
        return period, period
    first = date(int(year), int(rest), 1)
    last = (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    return first.isoformat(), last.isoformat()


def period_bounds(key: str) -> tuple[datetime, datetime]:
    """From the earliest start (inclusive) to the latest end (exclusive) of a period in any zone.

    Raises ValueError for what is not the key of a month, a week or a day.
    """
    if not PERIOD_KEY.fullmatch(key):
        raise ValueError("must be a month, a week or a day: 2026-11, 2026-W48 or 2026-11-24")
    if not _FIRST_YEAR <= int(key[:4]) <= _LAST_YEAR:
        raise ValueError(f"must be between {_FIRST_YEAR} and {_LAST_YEAR}")
    first, last = map(datetime.fromisoformat, days_of(key) or ())
    return (
        first.replace(tzinfo=UTC) - _ANY_ZONE,
        last.replace(tzinfo=UTC) + timedelta(days=1) + _ANY_ZONE,
    )
