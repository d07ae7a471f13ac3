"""The filter of a query of the rollups, and its answer."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal, TypeVar

import msgspec

from libs.common.domain.periods import zone_of
from libs.common.schemas.entry import EntryStatus
from libs.common.storage.mongo.driver import Document
from libs.common.storage.mongo.entry_filter import of_model
from libs.common.storage.mongo.rollup_rows import CELL_TIME, TAG

RollupField = Literal[
    "hour",
    "day",
    "month",
    "account",
    "key",
    "model",
    "requested_model",
    "provider",
    "status",
    "client_user",
]
# A RollupField, or `tag:` with the name of a tag.
Grouping = str

STORED: dict[Grouping, str] = {
    "day": "day",
    "account": "user_id",
    "key": "key_id",
    "model": "model",
    "requested_model": "requested_model",
    "provider": "provider",
    "client_user": "client_user",
}
K = TypeVar("K", bound=str)
# The days of two zones differ by no more.
ZONES_APART = timedelta(days=2)


class RollupFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`since` is inclusive, `until` exclusive; `user_id` goes with every `key_id`.

    Without a `zone`, days are those of each account. `model` is the name that was routed to, or
    provider/model; `tag` a whole one, by the name of its rollups. `among` leaves the groups with
    these values of a field that is stored.
    """

    since: date
    until: date
    zone: str | None = None
    user_id: str | None = None
    key_id: str | None = None
    model: str | None = None
    requested_model: str | None = None
    provider: str | None = None
    client_user: str | None = None
    status: EntryStatus | None = None
    tag: tuple[str, str] | None = None
    among: tuple[Grouping, tuple[str, ...]] | None = None

    def query(self) -> Document:
        """For the documents; what of a cell is wanted, `cells` tells."""
        query: Document = {
            name: value
            for name in ("user_id", "key_id", "provider", "requested_model", "client_user")
            if (value := getattr(self, name)) is not None
        }
        slack = timedelta(0) if self.zone is None else ZONES_APART
        days = {"$gte": (self.since - slack).isoformat(), "$lt": (self.until + slack).isoformat()}
        query["day"] = days
        if self.tag is not None:
            name, tag = self.tag
            query[stored_name(f"{TAG}{name}")] = tag
        if self.model is not None:
            query |= of_model(self.model)
        if self.among is not None:
            field, values = self.among
            missing = [None] if "" in values else []
            query["$and"] = [{stored_name(field): {"$in": [*values, *missing]}}]
        return query

    def times(self) -> tuple[str, str] | None:
        """The first hour of the zone's days, and the first one after them, as cells have it."""
        if self.zone is None:
            return None
        zone = zone_of(self.zone)
        return _cell_time(self.since, zone), _cell_time(self.until, zone)


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """`group` has a value for each field that was grouped by; an empty one stands for none."""

    group: tuple[str, ...]
    cost_nusd: int
    calls: int
    corrections: int
    statuses: dict[EntryStatus, int]
    tokens: dict[str, int]


NOTHING = Sums(group=(), cost_nusd=0, calls=0, corrections=0, statuses={}, tokens={})


class RankedSums(msgspec.Struct, frozen=True, kw_only=True):
    """Groups, the dearest first, and the sum of all groups, also of those that are not shown."""

    rows: list[Sums]
    total: Sums


def added(sums: Sums | None, more: Sums) -> Sums:
    """Of the same group."""
    if sums is None:
        return more
    return Sums(
        group=sums.group,
        cost_nusd=sums.cost_nusd + more.cost_nusd,
        calls=sums.calls + more.calls,
        corrections=sums.corrections + more.corrections,
        statuses=_together(sums.statuses, more.statuses),
        tokens=_together(sums.tokens, more.tokens),
    )


def _together(first: Mapping[K, int], second: Mapping[K, int]) -> dict[K, int]:
    """Without zeros."""
    totals = {name: first.get(name, 0) + second.get(name, 0) for name in (*first, *second)}
    return {name: number for name, number in totals.items() if number}


def stored_name(field: Grouping) -> str:
    """Of a rollup's document."""
    if field.startswith(TAG):
        return f"tags.{field.removeprefix(TAG)}"
    return "day" if field == "month" else STORED[field]


def _cell_time(day: date, zone: tzinfo) -> str:
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return midnight.astimezone(UTC).strftime(CELL_TIME)
