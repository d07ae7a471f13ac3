import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.periods import (
    PERIODS,
    days_of,
    longest_days,
    period_bounds,
    period_end,
    period_key,
    period_keys,
    zone_of,
)
from libs.common.schemas.account import BudgetPeriod

# Hypothesis adds the zone to these bounds itself.
_moments = st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001
    datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.timezones(),
)
_ending: tuple[BudgetPeriod, ...] = ("monthly", "weekly", "daily")
_SHAPES = {
    "total": r"total",
    "monthly": r"\d{4}-\d{2}",
    "weekly": r"\d{4}-W\d{2}",
    "daily": r"\d{4}-\d{2}-\d{2}",
}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("moment", "keys"),
    [
        ("2026-11-24T12:30:00Z", ("total", "2026-11", "2026-W48", "2026-11-24")),
        # The year of an ISO week is not always the year of the day.
        ("2026-12-31T23:59:59.999Z", ("total", "2026-12", "2026-W53", "2026-12-31")),
        ("2027-01-01T00:00:00Z", ("total", "2027-01", "2026-W53", "2027-01-01")),
        ("2027-01-03T23:59:59.999Z", ("total", "2027-01", "2026-W53", "2027-01-03")),
        ("2027-01-04T00:00:00Z", ("total", "2027-01", "2027-W01", "2027-01-04")),
        ("2024-12-29T23:59:59Z", ("total", "2024-12", "2024-W52", "2024-12-29")),
        ("2024-12-30T00:00:00Z", ("total", "2024-12", "2025-W01", "2024-12-30")),
        ("2028-02-29T00:00:00Z", ("total", "2028-02", "2028-W09", "2028-02-29")),
        # Wherever the caller's clock stands, the period is that of UTC.
        ("2026-11-30T23:30:00-05:00", ("total", "2026-12", "2026-W49", "2026-12-01")),
        ("2027-01-01T05:00:00+14:00", ("total", "2026-12", "2026-W53", "2026-12-31")),
    ],
)
def test_an_instant_belongs_to_one_period_of_each_kind(moment: str, keys: tuple[str, ...]) -> None:
    assert period_keys(at(moment)) == keys


@pytest.mark.parametrize(
    ("period", "moment", "end"),
    [
        ("daily", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"),
        ("daily", "2026-12-31T23:59:59.999999Z", "2027-01-01T00:00:00Z"),
        ("daily", "2028-02-28T12:00:00Z", "2028-02-29T00:00:00Z"),
        ("weekly", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
        ("weekly", "2026-11-29T23:59:59Z", "2026-11-30T00:00:00Z"),
        ("weekly", "2026-12-31T00:00:00Z", "2027-01-04T00:00:00Z"),
        ("monthly", "2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z"),
        ("monthly", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("monthly", "2027-01-31T12:00:00Z", "2027-02-01T00:00:00Z"),
        ("monthly", "2028-02-29T12:00:00Z", "2028-03-01T00:00:00Z"),
        ("monthly", "2026-11-30T23:30:00-05:00", "2027-01-01T00:00:00Z"),
    ],
)
def test_a_period_ends_where_the_next_begins(period: BudgetPeriod, moment: str, end: str) -> None:
    assert period_end(period, at(moment)) == at(end)


def test_the_total_never_ends() -> None:
    assert period_end("total", at("2026-11-24T12:30:00Z")) is None


@given(st.sampled_from(_ending), _moments)
def test_the_end_is_the_first_instant_with_another_key(
    period: BudgetPeriod, moment: datetime
) -> None:
    end = period_end(period, moment)
    assert end is not None
    assert moment < end
    key = period_key(period, moment)
    assert period_key(period, end) != key
    assert period_key(period, end - timedelta(microseconds=1)) == key


@given(st.sampled_from(PERIODS), _moments)
def test_a_key_shows_the_kind_of_its_period(period: BudgetPeriod, moment: datetime) -> None:
    key = period_key(period, moment)
    assert [kind for kind, shape in _SHAPES.items() if re.fullmatch(shape, key)] == [period]


@given(st.sampled_from(PERIODS), _moments)
def test_no_period_is_longer_than_its_kind(period: BudgetPeriod, moment: datetime) -> None:
    key = period_key(period, moment)
    most = longest_days(key)
    assert most == {"total": None, "monthly": 31, "weekly": 7, "daily": 1}[period]
    if (days := days_of(key)) is not None and most is not None:
        first, last = map(date.fromisoformat, days)
        assert (last - first).days < most


@given(st.sampled_from(PERIODS), _moments, st.integers(-14, 14))
def test_the_utc_offset_of_an_instant_does_not_matter(
    period: BudgetPeriod, moment: datetime, offset_h: int
) -> None:
    elsewhere = moment.astimezone(timezone(timedelta(hours=offset_h)))
    assert period_key(period, elsewhere) == period_key(period, moment)
    assert period_end(period, elsewhere) == period_end(period, moment)


def test_a_day_is_24_hours_where_the_clocks_change() -> None:
    before = datetime(2026, 3, 29, 0, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert period_key("daily", before) == "2026-03-28"
    assert period_end("daily", before) == datetime(2026, 3, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "moment", "period", "key", "end"),
    [
        # The clocks go forward: the day has 23 hours.
        ("Europe/Berlin", "2026-03-28T23:00Z", "daily", "2026-03-29", "2026-03-29T22:00Z"),
        ("Europe/Berlin", "2026-03-29T21:59Z", "daily", "2026-03-29", "2026-03-29T22:00Z"),
        # They go back: 25 hours.
        ("Europe/Berlin", "2026-10-24T22:00Z", "daily", "2026-10-25", "2026-10-25T23:00Z"),
        ("Europe/Berlin", "2026-10-25T22:59Z", "daily", "2026-10-25", "2026-10-25T23:00Z"),
        ("Europe/Berlin", "2026-10-24T22:00Z", "monthly", "2026-10", "2026-10-31T23:00Z"),
        ("America/New_York", "2026-11-02T04:59Z", "weekly", "2026-W44", "2026-11-02T05:00Z"),
        ("Asia/Kathmandu", "2026-11-24T18:14Z", "daily", "2026-11-24", "2026-11-24T18:15Z"),
        ("Asia/Kathmandu", "2026-11-24T18:15Z", "daily", "2026-11-25", "2026-11-25T18:15Z"),
        ("Asia/Kathmandu", "2026-12-31T18:15Z", "monthly", "2027-01", "2027-01-31T18:15Z"),
        # Midnight does not exist there on that day: it begins at one o'clock.
        ("America/Asuncion", "2024-10-06T04:00Z", "daily", "2024-10-06", "2024-10-07T03:00Z"),
        ("Pacific/Kiritimati", "2026-12-31T10:00Z", "weekly", "2026-W53", "2027-01-03T10:00Z"),
    ],
)
def test_periods_begin_and_end_where_the_account_is(
    zone: str, moment: str, period: BudgetPeriod, key: str, end: str
) -> None:
    assert period_key(period, at(moment), zone_of(zone)) == key
    assert period_end(period, at(moment), zone_of(zone)) == at(end)


# In 2011 two zones left out a day; no call was ever made on it.
_recent = st.datetimes(
    datetime(2012, 1, 2),  # noqa: DTZ001
    datetime(2036, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(st.sampled_from(_ending), _recent, st.timezones())
def test_in_every_zone_the_end_is_the_first_instant_with_another_key(
    period: BudgetPeriod, moment: datetime, zone: tzinfo
) -> None:
    end = period_end(period, moment, zone)
    assert end is not None
    assert moment < end
    key = period_key(period, moment, zone)
    assert period_key(period, end, zone) != key
    assert period_key(period, end - timedelta(microseconds=1), zone) == key


@given(st.sampled_from(_ending), _recent, st.timezones())
def test_the_days_of_a_period_are_those_with_its_key(
    period: BudgetPeriod, moment: datetime, zone: tzinfo
) -> None:
    days = days_of(period_key(period, moment, zone))
    assert days is not None
    today = period_key("daily", moment, zone)
    assert days[0] <= today <= days[1]
    first, last = (datetime.fromisoformat(day).replace(hour=12, tzinfo=zone) for day in days)
    key = period_key(period, moment, zone)
    assert period_key(period, first, zone) == period_key(period, last, zone) == key
    assert period_key(period, first - timedelta(days=1), zone) != key
    assert period_key(period, last + timedelta(days=1), zone) != key


def test_the_total_has_all_days() -> None:
    assert days_of("total") is None


@pytest.mark.parametrize("name", ["", "Mars/Base", "../UTC", "/etc/localtime", "utc\x00", "Europe"])
def test_an_unknown_zone_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match="unknown time zone"):
        zone_of(name)


@given(_moments, st.sampled_from(_ending))
def test_a_period_is_within_its_bounds_in_any_zone(moment: datetime, period: BudgetPeriod) -> None:
    since, until = period_bounds(period_key(period, moment, moment.tzinfo or UTC))
    assert since <= moment < until
    assert until - since <= timedelta(days=31, hours=28)


@pytest.mark.parametrize(
    "key",
    ["total", "", "2026", "2026-13", "2026-W54", "2026-02-30", "0001-01", "9999-12", "2026-1"],
)
def test_an_invalid_period_key_has_no_bounds(key: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        period_bounds(key)
