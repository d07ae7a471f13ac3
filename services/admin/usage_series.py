"""`/admin/usage/series`: usage over time, from rollups alone."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from libs.common.domain.money import nusd_to_usd
from libs.common.domain.periods import zone_of
from libs.common.storage.mongo.rollup_filter import Grouping, RollupFilter, Sums
from libs.common.storage.mongo.rollups import RollupReader
from services.admin.endpoints import Answer
from services.admin.state import State
from services.admin.usage_filter import TIMES, SumsQuery, field_problem, rollup_filter
from services.admin.usage_views import GroupSeries, PointView, SeriesView, group_fields
from services.admin.validation import FieldRule

# More groups than are shown at a time: series are asked for by group.
_MAX_ROWS = 20_000
# Fields with few values; of one account, others have few too.
_FEW = frozenset({"model", "provider"})
_HOUR = timedelta(hours=1)

Interval = Literal["hour", "day", "week", "month"]


def _line_by(name: str, _: datetime) -> str | None:
    """Of a series: what lasts longer than a point."""
    return "must not be a time or the status" if name in {*TIMES, "status"} else field_problem(name)


class SeriesQuery(SumsQuery, frozen=True, kw_only=True):
    """One series for each of the `limit` dearest groups, and one of all together."""

    interval: Interval = "day"
    group_by: Annotated[str, FieldRule(_line_by)] | None = None
    limit: Annotated[int, Meta(ge=1, le=20)] = 10


async def show_series(request: Request[State], query: SeriesQuery) -> Answer[SeriesView]:
    """Cost and calls of every interval, those without any included."""
    state, time = request.state, "hour" if query.interval == "hour" else "day"
    by = () if query.group_by is None else (query.group_by,)
    filters = await rollup_filter(state, query, (*by, time))
    found = await _found(state["rollups"], filters, by, time, query.limit)
    points = partial(_points, query.interval, filters)
    return Answer(
        SeriesView(
            since=filters.since,
            until=filters.until,
            zone=filters.zone,
            interval=query.interval,
            group_by=query.group_by,
            data=tuple(
                GroupSeries(**group_fields(by, (name,)), points=points(rows))
                for name, rows in found.groups.items()
            ),
            total=points(found.total),
        )
    )


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """Rows, each of a time, which is the last field of its group; `groups`, the dearest first."""

    groups: Mapping[str, Sequence[Sums]]
    total: Sequence[Sums]


async def _found(
    rollups: RollupReader, filters: RollupFilter, by: Sequence[Grouping], time: Grouping, limit: int
) -> _Found:
    if by and (filters.user_id is not None or by[0] in _FEW):
        # One question has all groups.
        rows = await rollups.sums(filters, (*by, time), limit=_MAX_ROWS + 1, brief=True)
        if len(rows) <= _MAX_ROWS:
            return _Found(groups=_dearest(rows, limit), total=rows)
    groups: dict[str, list[Sums]] = {}
    if by:
        dearest = await rollups.sums(filters, by, limit=limit, brief=True)
        groups = {row.group[0]: [] for row in dearest}
        group_filter = msgspec.structs.replace(filters, among=(by[0], tuple(groups)))
        for row in await rollups.sums(group_filter, (*by, time), limit=_MAX_ROWS, brief=True):
            groups[row.group[0]].append(row)
    total = await rollups.sums(filters, (time,), limit=_MAX_ROWS, brief=True)
    return _Found(groups=groups, total=total)


def _dearest(rows: Iterable[Sums], limit: int) -> dict[str, list[Sums]]:
    """Equals by their names."""
    groups: defaultdict[str, list[Sums]] = defaultdict(list)
    for row in rows:
        groups[row.group[0]].append(row)

    def rank(name: str) -> tuple[int, str]:
        return -sum(row.cost_nusd for row in groups[name]), name

    return {name: groups[name] for name in sorted(groups, key=rank)[:limit]}


def _points(
    interval: Interval, filters: RollupFilter, rows: Iterable[Sums]
) -> tuple[PointView, ...]:
    """`start` is the interval's first day, also where `since` lies within it."""
    cost_nusd, calls = Counter[str](), Counter[str]()
    for row in rows:
        cost_nusd[row.group[-1]] += row.cost_nusd
        calls[row.group[-1]] += row.calls
    of_points: dict[str, list[str]] = {}
    for time, start in _times(interval, filters):
        of_points.setdefault(start, []).append(time)
    return tuple(
        PointView(
            start=start,
            cost_usd=nusd_to_usd(sum(cost_nusd[time] for time in times)),
            calls=sum(calls[time] for time in times),
        )
        for start, times in of_points.items()
    )


def _times(interval: Interval, filters: RollupFilter) -> Iterator[tuple[str, str]]:
    """Every day or hour, as rollups name it, with the start of its interval."""
    if interval == "hour":
        for hour in _hours(filters, zone_of(filters.zone or "UTC")):
            yield hour.strftime("%Y-%m-%dT%H:00%z"), hour.replace(minute=0).isoformat()
        return
    for number in range((filters.until - filters.since).days):
        day = filters.since + timedelta(days=number)
        yield day.isoformat(), _start(interval, day).isoformat()


def _hours(filters: RollupFilter, zone: tzinfo) -> Iterator[datetime]:
    """Of the zone's clock, those that come twice too."""
    midnights = (
        datetime(day.year, day.month, day.day, tzinfo=zone)
        for day in (filters.since, filters.until)
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
