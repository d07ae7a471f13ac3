"""`/admin/usage/summary` and `/admin/usage/series`: sums of usage, from rollups alone.

A day is that of each account's time zone, as in its budgets.
"""

import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from libs.common.domain.money import nusd_to_usd
from libs.common.errors import FieldError, NotFound, ValidationFailed
from libs.common.storage.mongo.rollups import RollupField, RollupFilter, Sums
from services.admin.accounts import find_account
from services.admin.endpoints import Answer
from services.admin.fields import Id, Model, Provider, UserId
from services.admin.state import State
from services.admin.validation import Rule

_MAX_FIELDS = 3
_MAX_SPAN = timedelta(days=400)
_DEFAULT_SPAN = timedelta(days=30)
# The first time zones reach a day so long before UTC.
_EARLIEST_ZONE = timedelta(hours=14)
# More groups than are shown at a time: series are asked for by group.
_MAX_ROWS = 10_000
_FIELDS: tuple[RollupField, ...] = typing.get_args(RollupField)
_SHOWN_AS: dict[RollupField, str] = {"account": "user_id", "key": "key_id"}


def _group_by(text: str, _: datetime) -> str | None:
    names = text.split(",")
    unknown = [name for name in names if name not in _FIELDS]
    if unknown:
        return f"{unknown[0][:64]!r} is none of {', '.join(_FIELDS)}"
    if len(set(names)) < len(names):
        return "names a field twice"
    return None if len(names) <= _MAX_FIELDS else f"has more than {_MAX_FIELDS} fields"


class _SumsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Days from `since` (inclusive, by default 30 before) to `until` (exclusive)."""

    since: date | None = None
    until: date | None = None
    user_id: UserId | None = None
    key_id: Id | None = None
    model: Model | None = None
    provider: Provider | None = None


class SummaryQuery(_SumsQuery, frozen=True, kw_only=True):
    """`group_by` lists fields, by commas; the `limit` dearest groups are shown."""

    group_by: Annotated[str, Rule(_group_by)] = "model"
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class SeriesQuery(_SumsQuery, frozen=True, kw_only=True):
    """One series for each of the `limit` dearest groups, and one of all together."""

    interval: Literal["day", "week", "month"] = "day"
    group_by: Literal["account", "key", "model", "provider"] | None = None
    limit: Annotated[int, Meta(ge=1, le=20)] = 10


async def show_summary(request: Request[State], query: SummaryQuery) -> Answer[Any]:
    """The dearest groups, the sum of the `rest` and of all; by no clock but the rollups' days."""
    state = request.state
    wanted = await _filter(state, query)
    by = typing.cast("list[RollupField]", query.group_by.split(","))
    found = await state["rollups"].sums(wanted, by, limit=query.limit + 1)
    shown = found[: query.limit]
    total, rest = _added(found), None
    if len(found) > query.limit:
        total = _added(await state["rollups"].sums(wanted, (), limit=1))
        rest = _sums_view(_subtracted(total, _added(shown)))
    return Answer(
        {
            "since": wanted.since,
            "until": wanted.until,
            "group_by": by,
            "data": [{**_group_view(by, row.group), **_sums_view(row)} for row in shown],
            "rest": rest,
            "total": _sums_view(total),
        }
    )


async def show_series(request: Request[State], query: SeriesQuery) -> Answer[Any]:
    """Cost and calls of every interval, those without any included."""
    state = request.state
    wanted = await _filter(state, query)
    series = []
    if query.group_by is not None:
        field: RollupField = query.group_by
        dearest = await state["rollups"].sums(wanted, (field,), limit=query.limit)
        names = [row.group[0] for row in dearest]
        among = msgspec.structs.replace(wanted, among=(field, tuple(names)))
        rows = await state["rollups"].sums(among, (field, "day"), limit=_MAX_ROWS)
        for name in names:
            days = {row.group[1]: row for row in rows if row.group[0] == name}
            view = _group_view([field], (name,))
            series.append({**view, "points": _points(query, wanted, days)})
    days = {
        row.group[0]: row for row in await state["rollups"].sums(wanted, ("day",), limit=_MAX_ROWS)
    }
    return Answer(
        {
            "since": wanted.since,
            "until": wanted.until,
            "interval": query.interval,
            "group_by": query.group_by,
            "data": series,
            "total": _points(query, wanted, days),
        }
    )


async def _filter(state: State, query: _SumsQuery) -> RollupFilter:
    """Raises NotFound for an unknown account or key, and ValidationFailed."""
    today = (state["now"]() + _EARLIEST_ZONE).date()
    until = today + timedelta(days=1) if query.until is None else query.until
    # The first day that a calendar has is early enough for any.
    since = query.since or max(date.min + _DEFAULT_SPAN, until) - _DEFAULT_SPAN
    if not timedelta(0) < until - since <= _MAX_SPAN:
        message = f"must be later than since, by at most {_MAX_SPAN.days} days"
        raise ValidationFailed([FieldError("until", message)])
    user_id = query.user_id
    if user_id is not None:
        await find_account(state, user_id)
    if query.key_id is not None:
        key = await state["keys"].get(query.key_id)
        if key is None or user_id not in (None, key.user_id):
            whose = "" if user_id is None else " of this account"
            raise NotFound(f"There is no key '{query.key_id[:128]}'{whose}.", param="key_id")
        # The index on keys begins with their account.
        user_id = key.user_id
    return RollupFilter(
        since=since,
        until=until,
        user_id=user_id,
        key_id=query.key_id,
        model=query.model,
        provider=query.provider,
    )


def _added(rows: Sequence[Sums]) -> Sums:
    statuses, tokens = Counter[Any](), Counter[str]()
    for row in rows:
        # `update` keeps what is negative.
        statuses.update(row.statuses)
        tokens.update(row.tokens)
    return Sums(
        group=(),
        cost_nusd=sum(row.cost_nusd for row in rows),
        calls=sum(row.calls for row in rows),
        corrections=sum(row.corrections for row in rows),
        statuses=dict(statuses),
        tokens=dict(tokens),
    )


def _subtracted(total: Sums, part: Sums) -> Sums:
    statuses, tokens = Counter[Any](total.statuses), Counter(total.tokens)
    statuses.subtract(part.statuses)
    tokens.subtract(part.tokens)
    return Sums(
        group=(),
        cost_nusd=total.cost_nusd - part.cost_nusd,
        calls=total.calls - part.calls,
        corrections=total.corrections - part.corrections,
        statuses={name: n for name, n in statuses.items() if n},
        tokens={name: n for name, n in tokens.items() if n},
    )


def _group_view(by: Sequence[RollupField], group: Sequence[str]) -> dict[str, str | None]:
    return {
        _SHOWN_AS.get(field, field): value or None for field, value in zip(by, group, strict=True)
    }


def _sums_view(sums: Sums) -> dict[str, Any]:
    return {
        "cost_usd": nusd_to_usd(sums.cost_nusd),
        "calls": sums.calls,
        "corrections": sums.corrections,
        "statuses": sums.statuses,
        "tokens": sums.tokens,
    }


def _points(
    query: SeriesQuery, wanted: RollupFilter, days: Mapping[str, Sums]
) -> list[dict[str, Any]]:
    """`start` is the interval's first day, also where `since` lies within it."""
    cost_nusd, calls = Counter[date](), Counter[date]()
    for number in range((wanted.until - wanted.since).days):
        day = wanted.since + timedelta(days=number)
        start, row = _start(query.interval, day), days.get(day.isoformat())
        cost_nusd[start] += 0 if row is None else row.cost_nusd
        calls[start] += 0 if row is None else row.calls
    return [
        {"start": start, "cost_usd": nusd_to_usd(nusd), "calls": calls[start]}
        for start, nusd in cost_nusd.items()
    ]


def _start(interval: Literal["day", "week", "month"], day: date) -> date:
    match interval:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
