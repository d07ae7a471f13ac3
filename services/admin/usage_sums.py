"""`/admin/usage/summary`: sums of usage by group, from rollups alone.

A day is that of each account's time zone, as in its budgets, unless a `zone` is named or hours are
asked for.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta
from starlette.requests import Request

from libs.common.errors import FieldError, ValidationFailed
from libs.common.storage.mongo.rollup_filter import NOTHING, Grouping, RollupFilter, Sums
from libs.common.storage.mongo.rollups import RollupReader
from services.admin.endpoints import Answer
from services.admin.state import State
from services.admin.usage_filter import TIMES, SumsQuery, field_problem, rollup_filter
from services.admin.usage_views import (
    ComparedView,
    GroupView,
    PeriodView,
    SummaryView,
    group_fields,
    previous_field,
    subtracted,
    sum_of_rows,
    sums_fields,
)
from services.admin.validation import FieldRule

_MAX_FIELDS = 4


def _group_by(text: str, _: datetime) -> str | None:
    names = text.split(",")
    for name in names:
        problem = field_problem(name)
        if problem is not None:
            return problem
    if len(set(names)) < len(names):
        return "names a field twice"
    return None if len(names) <= _MAX_FIELDS else f"has more than {_MAX_FIELDS} fields"


class SummaryQuery(SumsQuery, frozen=True, kw_only=True):
    """`group_by` lists fields, by commas; the `limit` dearest groups are shown."""

    group_by: Annotated[str, FieldRule(_group_by)] = "model"
    compare: Literal["previous"] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class _Before(msgspec.Struct, frozen=True, kw_only=True):
    """The period before: of the groups that are shown, and in total."""

    period: RollupFilter
    groups: dict[tuple[str, ...], Sums]
    total: Sums


async def show_summary(request: Request[State], query: SummaryQuery) -> Answer[SummaryView]:
    """The dearest groups, the sum of the `rest` and of all; by no clock but the rollups' days."""
    state, by = request.state, tuple(query.group_by.split(","))
    filters = await rollup_filter(state, query, by)
    if query.compare is not None and not TIMES.isdisjoint(by):
        problem = "cannot be used with group_by hour, day or month: compare shorter periods"
        raise ValidationFailed([FieldError("compare", problem)])
    found = await state["rollups"].ranked(filters, by, limit=query.limit + 1)
    top, has_rest, total = found.rows[: query.limit], len(found.rows) > query.limit, found.total
    before = None
    if query.compare is not None:
        before = await _before(state["rollups"], filters, by, [row.group for row in top])
    return Answer(
        SummaryView(
            since=filters.since,
            until=filters.until,
            zone=filters.zone,
            previous=UNSET if before is None else _period_view(before.period),
            group_by=by,
            data=tuple(_group_view(by, row, before) for row in top),
            rest=_rest_view(subtracted(total, sum_of_rows(top)), before) if has_rest else None,
            total=_view(total, None if before is None else before.total),
        )
    )


async def _before(
    rollups: RollupReader,
    filters: RollupFilter,
    by: Sequence[Grouping],
    groups: Sequence[tuple[str, ...]],
) -> _Before:
    period = _period_before(filters)
    found = await rollups.ranked(period, by, limit=len(groups), groups=groups)
    return _Before(period=period, groups={row.group: row for row in found.rows}, total=found.total)


def _period_before(filters: RollupFilter) -> RollupFilter:
    """As many days; of whole months, as many months."""
    since, until = filters.since, filters.until
    before = since - (until - since)
    if since.day == until.day == 1:
        months = (until.year - since.year) * 12 + until.month - since.month
        year, month = divmod(since.year * 12 + since.month - 1 - months, 12)
        before = date(year, month + 1, 1)
    return msgspec.structs.replace(filters, since=before, until=since)


def _group_view(by: Sequence[Grouping], row: Sums, before: _Before | None) -> GroupView:
    previous = None if before is None else before.groups.get(row.group, NOTHING)
    return GroupView(**group_fields(by, row.group), **sums_fields(row), **previous_field(previous))


def _rest_view(rest: Sums, before: _Before | None) -> ComparedView:
    if before is None:
        return _view(rest, None)
    return _view(rest, subtracted(before.total, sum_of_rows(list(before.groups.values()))))


def _view(sums: Sums, previous: Sums | None) -> ComparedView:
    return ComparedView(**sums_fields(sums), **previous_field(previous))


def _period_view(filters: RollupFilter) -> PeriodView:
    return PeriodView(since=filters.since, until=filters.until)
