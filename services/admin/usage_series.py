"""`/admin/usage/series`: usage over time, from rollups alone."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from libs.common.domain.money import nusd_to_usd
from libs.common.domain.periods import zone_of
from libs.common.storage.mongo.rollup_filter import NOTHING, RollupFilter, Sums
from services.admin.endpoints import Answer
from services.admin.state import State
from services.admin.usage_filter import TIMES, SumsQuery, field_problem, rollup_filter
from services.admin.usage_views import GroupSeries, PointView, SeriesView, group_fields
from services.admin.validation import FieldRule

# More groups than are shown at a time: series are asked for by group.
_MAX_ROWS = 20_000
_HOUR = timedelta(hours=1)

Interval = Literal["hour", "day", "week", "month"]


def _line_by(name: str, _: datetime) -> str | None:
    """Of a series: what lasts longer than a point."""
    return "must be no time and no status" if name in {*TIMES, "status"} else field_problem(name)


class SeriesQuery(SumsQuery, frozen=True, kw_only=True):
    """One series for each of the `limit` dearest groups, and one of all together."""

    interval: Interval = "day"
    group_by: Annotated[str, FieldRule(_line_by)] | None = None
    limit: Annotated[int, Meta(ge=1, le=20)] = 10


async def show_series(request: Request[State], query: SeriesQuery) -> Answer[SeriesView]:
    """Cost and calls of every interval, those without any included."""
    state, rollups = request.state, request.state["rollups"]
    time = "hour" if query.interval == "hour" else "day"
    by = () if query.group_by is None else (query.group_by,)
    wanted = await rollup_filter(state, query, (*by, time))
    lines = []
    if by:
        dearest = await rollups.sums(wanted, by, limit=query.limit, brief=True)
        names = [row.group[0] for row in dearest]
        among = msgspec.structs.replace(wanted, among=(by[0], tuple(names)))
        rows = await rollups.sums(among, (*by, time), limit=_MAX_ROWS, brief=True)
        for name in names:
            times = {row.group[1]: row for row in rows if row.group[0] == name}
            points = _points(query.interval, wanted, times)
            lines.append(GroupSeries(**group_fields(by, (name,)), points=points))
    times = {
        row.group[0]: row
        for row in await rollups.sums(wanted, (time,), limit=_MAX_ROWS, brief=True)
    }
    return Answer(
        SeriesView(
            since=wanted.since,
            until=wanted.until,
            zone=wanted.zone,
            interval=query.interval,
            group_by=query.group_by,
            data=tuple(lines),
            total=_points(query.interval, wanted, times),
        )
    )


def _points(
    interval: Interval, wanted: RollupFilter, times: Mapping[str, Sums]
) -> tuple[PointView, ...]:
    """`start` is the interval's first day, also where `since` lies within it."""
    cost_nusd, calls = Counter[str](), Counter[str]()
    for time, start in _times(interval, wanted):
        row = times.get(time, NOTHING)
        cost_nusd[start] += row.cost_nusd
        calls[start] += row.calls
    return tuple(
        PointView(start=start, cost_usd=nusd_to_usd(nusd), calls=calls[start])
        for start, nusd in cost_nusd.items()
    )


def _times(interval: Interval, wanted: RollupFilter) -> Iterator[tuple[str, str]]:
    """Every day or hour, as rollups name it, with the start of its interval."""
    if interval == "hour":
        for hour in _hours(wanted, zone_of(wanted.zone or "UTC")):
            yield hour.strftime("%Y-%m-%dT%H:00%z"), hour.replace(minute=0).isoformat()
        return
    for number in range((wanted.until - wanted.since).days):
        day = wanted.since + timedelta(days=number)
        yield day.isoformat(), _start(interval, day).isoformat()


def _hours(wanted: RollupFilter, zone: tzinfo) -> Iterator[datetime]:
    """Of the zone's clock, those that come twice too."""
    midnights = (
        datetime(day.year, day.month, day.day, tzinfo=zone) for day in (wanted.since, wanted.until)
    )
    at, end = (midnight.astimezone(UTC) for midnight in midnights)
    while at < end:
        yield at.astimezone(zone)
        at += _HOUR


def _start(interval: Interval, day: date) -> date:
    match interval:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case _:
            return day
