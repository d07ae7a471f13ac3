"""Whether a budget lasts, at the pace of yesterday and today."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.forecasts import Forecast, forecast, present_in, presents_of
from libs.common.domain.money import MAX_NUSD
from libs.common.domain.periods import present_periods
from libs.common.schemas.account import Budget, BudgetPeriod

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def predict(period: BudgetPeriod, limit: int, spent: int, recent: int, **fields: Any) -> Forecast:
    arguments: dict[str, Any] = {"now": NOW, "zone": UTC, "created_at": LONG_AGO} | fields
    return forecast(
        Budget(limit_nusd=limit, period=period),
        present_in(arguments["zone"], arguments["now"]),
        spent_nusd=spent,
        recent_nusd=recent,
        created_at=arguments["created_at"],
    )


@pytest.mark.parametrize(
    ("found", "outlook", "expected", "runs_out_at"),
    [
        # 36 hours at 10 an hour; 156 hours of the month are left.
        (predict("monthly", 5_000, 1_000, 360), "lasts", 2_560, None),
        (predict("monthly", 2_560, 1_000, 360), "lasts", 2_560, None),
        (predict("monthly", 1_600, 1_000, 360), "runs_out", 2_560, NOW + timedelta(hours=60)),
        (predict("daily", 300, 200, 360), "runs_out", 320, NOW + timedelta(hours=10)),
        (predict("weekly", 99, 100, 360), "exhausted", 100 + 1_320, None),
        (predict("weekly", 100, 100, 0), "exhausted", 100, None),
        (predict("total", 10_000, 1_000, 360), "lasts", None, None),
        (predict("total", 8_199, 1_000, 360), "runs_out", None, NOW + timedelta(minutes=6 * 7_199)),
        # Refunds do not count towards the pace.
        (predict("monthly", 2_000, 1_000, -50), "lasts", 1_000, None),
        (predict("daily", 1, 0, 0), "lasts", 0, None),
        # Made two hours ago, or just now: an hour at least.
        (predict("daily", 300, 200, 200, created_at=NOW - timedelta(hours=2)), "runs_out", 1_400,
         NOW + timedelta(hours=1)),
        (predict("daily", 300, 200, 200, created_at=NOW), "runs_out", 2_600,
         NOW + timedelta(minutes=30)),
    ],
)  # fmt: skip
def test_forecasts(
    found: Forecast, outlook: str, expected: int | None, runs_out_at: datetime | None
) -> None:
    assert (found.outlook, found.expected_nusd, found.runs_out_at) == (
        outlook,
        expected,
        runs_out_at,
    )


def test_days_are_those_of_the_zone() -> None:
    auckland = ZoneInfo("Pacific/Auckland")
    assert present_in(auckland, NOW).pace_days == ("2026-11-24", "2026-11-25")
    result = predict("daily", 10_000, 60, 360, zone=auckland)
    # It is 1:00 there: 25 hours so far, 23 to go.
    assert result.expected_nusd == 60 + 360 * 23 // 25


def test_a_zone_that_is_not_known_here_is_utc() -> None:
    """As calls are posted: where time zones were updated elsewhere first, nothing fails."""
    presents = presents_of(["Mars/Olympus", "Pacific/Auckland"], NOW)
    assert presents["Mars/Olympus"] == present_in(UTC, NOW)
    assert presents["Pacific/Auckland"].keys["daily"] == "2026-11-25"


@given(
    st.datetimes(datetime(2012, 1, 2), datetime(2036, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.timezones(),
)
def test_present_periods_include_those_of_every_zone(now: datetime, zone: tzinfo) -> None:
    present = present_in(zone, now)
    assert {*present.keys.values(), *present.pace_days} <= {*present_periods(now)}


amounts = st.integers(0, MAX_NUSD)


@given(
    period=st.sampled_from(["total", "daily", "weekly", "monthly"]),
    limit=amounts,
    spent=st.integers(-MAX_NUSD, MAX_NUSD),
    recent=st.integers(-MAX_NUSD, MAX_NUSD),
    hours=st.integers(0, 700_000),
    zone=st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York", "Pacific/Kiritimati"]),
    age=st.timedeltas(timedelta(0), timedelta(days=5)),
)
def test_a_forecast_agrees_with_itself(
    period: BudgetPeriod,
    limit: int,
    spent: int,
    recent: int,
    hours: int,
    zone: str,
    age: timedelta,
) -> None:
    now = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=hours, minutes=7)
    result = predict(
        period, limit, spent, recent, now=now, zone=ZoneInfo(zone), created_at=now - age
    )
    assert (result.outlook == "exhausted") == (spent >= limit)
    assert (result.outlook == "runs_out") == (result.runs_out_at is not None)
    if result.runs_out_at is not None:
        assert result.runs_out_at >= now
        assert recent > 0
    if result.expected_nusd is not None:
        assert result.expected_nusd >= spent
        if result.outlook == "lasts":
            assert result.expected_nusd <= limit
        if result.outlook == "runs_out":
            assert result.expected_nusd >= limit
