"""Sums of usage as `/admin/usage/summary` and `/series` show them, and their arithmetic."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.domain.money import nusd_to_usd
from libs.common.schemas.entry import EntryStatus
from libs.common.storage.mongo.rollup_filter import Grouping, Sums
from libs.common.storage.mongo.rollup_rows import TAG

_SHOWN_AS = {"account": "user_id", "key": "key_id"}


class SumsView(msgspec.Struct, frozen=True, kw_only=True):
    """`statuses` are those of the calls; `tokens` are by class, those reported."""

    cost_usd: Decimal
    calls: int
    corrections: int
    statuses: dict[EntryStatus, int]
    tokens: dict[str, int]


class ComparedView(SumsView, frozen=True, kw_only=True):
    """`previous` is there where it is asked for: the same of the period before."""

    previous: SumsView | UnsetType = UNSET


class GroupView(ComparedView, frozen=True, kw_only=True):
    """It has the fields that are grouped by, null where the calls have none.

    `tags` has the whole tag by the name that is grouped by.
    """

    hour: str | UnsetType | None = UNSET
    day: str | UnsetType | None = UNSET
    month: str | UnsetType | None = UNSET
    user_id: str | UnsetType | None = UNSET
    key_id: str | UnsetType | None = UNSET
    model: str | UnsetType | None = UNSET
    requested_model: str | UnsetType | None = UNSET
    provider: str | UnsetType | None = UNSET
    status: str | UnsetType | None = UNSET
    client_user: str | UnsetType | None = UNSET
    tags: dict[str, str | None] | UnsetType = UNSET


class PeriodView(msgspec.Struct, frozen=True, kw_only=True):
    since: date
    until: date


class SummaryView(PeriodView, frozen=True, kw_only=True):
    """`zone` is null where days are those of each account. `rest` is what `limit` leaves out."""

    zone: str | None
    previous: PeriodView | UnsetType = UNSET
    group_by: tuple[str, ...]
    data: tuple[GroupView, ...]
    rest: ComparedView | None
    total: ComparedView


class PointView(msgspec.Struct, frozen=True, kw_only=True):
    """`start` is the day, or the hour of the zone, with which the interval begins."""

    start: str
    cost_usd: Decimal
    calls: int


class GroupSeries(msgspec.Struct, frozen=True, kw_only=True):
    """One group's series."""

    user_id: str | UnsetType | None = UNSET
    key_id: str | UnsetType | None = UNSET
    model: str | UnsetType | None = UNSET
    requested_model: str | UnsetType | None = UNSET
    provider: str | UnsetType | None = UNSET
    client_user: str | UnsetType | None = UNSET
    tags: dict[str, str | None] | UnsetType = UNSET
    points: tuple[PointView, ...]


class SeriesView(PeriodView, frozen=True, kw_only=True):
    zone: str | None
    interval: str
    group_by: str | None
    data: tuple[GroupSeries, ...]
    total: tuple[PointView, ...]


def group_fields(by: Sequence[Grouping], group: Sequence[str]) -> dict[str, Any]:
    """As the views name them."""
    fields: dict[str, Any] = {}
    for name, value in zip(by, group, strict=True):
        if name.startswith(TAG):
            fields.setdefault("tags", {})[name.removeprefix(TAG)] = value or None
        else:
            fields[_SHOWN_AS.get(name, name)] = value or None
    return fields


def sums_fields(sums: Sums) -> dict[str, Any]:
    return {
        "cost_usd": nusd_to_usd(sums.cost_nusd),
        "calls": sums.calls,
        "corrections": sums.corrections,
        "statuses": sums.statuses,
        "tokens": sums.tokens,
    }


def previous_field(previous: Sums | None) -> dict[str, Any]:
    return {} if previous is None else {"previous": SumsView(**sums_fields(previous))}


def sum_of_rows(rows: Sequence[Sums]) -> Sums:
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


def subtracted(total: Sums, part: Sums) -> Sums:
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
