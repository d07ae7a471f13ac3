"""Sums of the collection `rollups`, which `rollup_rows` describes. Nothing here reads an entry.

What is asked of all accounts, by day, model, provider and what is in cells, is answered from
`rollup_totals` where these are whole.

A rollup's day is that of its account's time zone; a `zone` puts its cells, hours of the account's
clock, into the days and hours of another. What was written before rollups had a field (provider,
cells, asked name, …) counts without a value of it.
"""

import typing
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Literal

import msgspec

from libs.common.domain.periods import zone_of
from libs.common.schemas.entry import EntryStatus
from libs.common.schemas.usage import CallStatus, TokenCounts
from libs.common.storage.mongo.dearest_accounts import dearest_accounts
from libs.common.storage.mongo.driver import Database, Document
from libs.common.storage.mongo.entry_filter import of_model
from libs.common.storage.mongo.rollup_rows import CELL_TIME, CELL_TIME_CHARS, CELLS_VERSION, TAG
from libs.common.storage.mongo.rollup_totals import RollupTotals

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

_STATUSES = (*typing.get_args(CallStatus), "unpriced")
_STORED: dict[Grouping, str] = {
    "day": "day",
    "account": "user_id",
    "key": "key_id",
    "model": "model",
    "requested_model": "requested_model",
    "provider": "provider",
    "client_user": "client_user",
}
_IN_CELLS = frozenset({"hour", "status"})
_UNSTORED = _IN_CELLS | {"day", "month"}
_IN_TOTALS = _IN_CELLS | {"day", "month", "model", "provider"}
_COUNTED = ("cost_nusd", "calls", "corrections")
# The days of two zones differ by no more.
_ZONES_APART = timedelta(days=2)
# Of a document without cells, the one that stands for it has no name.
_CELLS: Document = {
    "$cond": [
        {"$eq": ["$v", CELLS_VERSION]},
        {"$objectToArray": "$cells"},
        [{"k": "", "v": {name: f"${name}" for name in (*_COUNTED, "tokens")}}],
    ]
}
_HAS_TIME: Document = {"$ne": ["$cells.k", ""]}
_CELL_AT: Document = {
    "$dateFromString": {
        "dateString": {"$substrCP": ["$cells.k", 0, CELL_TIME_CHARS]},
        "format": CELL_TIME,
    }
}
_CELL_STATUS: Document = {"$substrCP": ["$cells.k", CELL_TIME_CHARS + 1, 32]}


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
        slack = timedelta(0) if self.zone is None else _ZONES_APART
        days = {"$gte": (self.since - slack).isoformat(), "$lt": (self.until + slack).isoformat()}
        query["day"] = days
        if self.tag is not None:
            name, tag = self.tag
            query[_stored(f"{TAG}{name}")] = tag
        if self.model is not None:
            query |= of_model(self.model)
        if self.among is not None:
            field, values = self.among
            missing = [None] if "" in values else []
            query["$and"] = [{_stored(field): {"$in": [*values, *missing]}}]
        return query

    def cells(self) -> Document:
        query: Document = {}
        if self.zone is not None:
            zone = zone_of(self.zone)
            bounds = {"$gte": _cell_time(self.since, zone), "$lt": _cell_time(self.until, zone)}
            days = {"$gte": self.since.isoformat(), "$lt": self.until.isoformat()}
            query["$or"] = [{"cells.k": bounds}, {"cells.k": "", "day": days}]
        if self.status is not None:
            query["$expr"] = {"$eq": [_CELL_STATUS, self.status]}
        return query


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """`group` has a value for each field that was grouped by; an empty one stands for none."""

    group: tuple[str, ...]
    cost_nusd: int
    calls: int
    corrections: int
    statuses: dict[EntryStatus, int]
    tokens: dict[str, int]


class RollupReader:
    """Reads what `LedgerStore` adds up."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rollups = database["rollups"]
        self._totals = RollupTotals(database)

    async def sums(
        self,
        wanted: RollupFilter,
        by: Sequence[Grouping],
        *,
        limit: int,
        groups: Sequence[tuple[str, ...]] | None = None,
        brief: bool = False,
    ) -> list[Sums]:
        """One row per group, the dearest first; without fields to group by, one row or none.

        `groups` leaves these alone. A `brief` row has no statuses and tokens, most of the work.
        """
        wanted = await self._narrowed(wanted, by, limit, groups)
        group = _group(wanted, by) if brief else _group(wanted, by) | _details(wanted, by)
        source, rows = self._rollups, _rows(wanted, by)
        if _is_of_totals(wanted, by) and await self._totals.are_whole():
            source = self._totals.collection
            rows[0] = {"$match": {"by": _cells_by(wanted, by)} | wanted.query()}
        pipeline = [*rows, {"$group": group}]
        if groups is not None:
            ids = [dict(zip(map(_name, by), group, strict=True)) for group in groups]
            pipeline.append({"$match": {"_id": {"$in": ids}}})
        pipeline += [{"$sort": {"cost_nusd": -1, "_id": 1}}, {"$limit": limit}]
        found = await source.aggregate(pipeline, allowDiskUse=True).to_list(limit)
        return [_sums(row, by) for row in found]

    async def _narrowed(
        self,
        wanted: RollupFilter,
        by: Sequence[Grouping],
        limit: int,
        groups: Sequence[tuple[str, ...]] | None,
    ) -> RollupFilter:
        """Leaves out rollups of groups that are not among those wanted, where that is known."""
        if len(by) != 1 or by[0] in _UNSTORED or wanted.among is not None:
            return wanted
        names = None if groups is None else [name for (name,) in groups]
        of_all = RollupFilter(since=wanted.since, until=wanted.until)
        if names is None and by[0] == "account" and wanted == of_all:
            # Otherwise each rollup of each account would be read to find those that are shown.
            names = await dearest_accounts(self._database, wanted.since, wanted.until, limit)
        if names is None:
            return wanted
        return msgspec.structs.replace(wanted, among=(by[0], tuple(names)))

    async def has_model(self, model: str) -> bool:
        """Whether a call was ever routed to it."""
        return await self._rollups.find_one({"model": model}, {"_id": 1}) is not None


def _is_of_totals(wanted: RollupFilter, by: Iterable[Grouping]) -> bool:
    """Whether nothing is asked that only the rollups of single accounts tell."""
    fields = {*by} if wanted.among is None else {*by, wanted.among[0]}
    narrower = (
        wanted.user_id,
        wanted.key_id,
        wanted.requested_model,
        wanted.client_user,
        wanted.tag,
    )
    return fields <= _IN_TOTALS and all(value is None for value in narrower)


def _cells_by(wanted: RollupFilter, by: Iterable[Grouping]) -> str:
    """Which of the totals' documents have the cells that are asked for, or none too many."""
    return "hour" if wanted.zone is not None or "hour" in by else "day"


def _by_cell(wanted: RollupFilter, by: Iterable[Grouping]) -> bool:
    return wanted.zone is not None or wanted.status is not None or not _IN_CELLS.isdisjoint(by)


def _rows(wanted: RollupFilter, by: Sequence[Grouping]) -> list[Document]:
    """The documents, or where they do not tell enough their cells."""
    stages: list[Document] = [{"$match": wanted.query()}]
    if _by_cell(wanted, by):
        kept = {_stored(name).partition(".")[0]: 1 for name in by if name not in _IN_CELLS}
        stages += [
            {"$project": {"day": 1, **kept, "cells": _CELLS}},
            {"$unwind": "$cells"},
            {"$match": wanted.cells()},
        ]
    return stages


def _group(wanted: RollupFilter, by: Sequence[Grouping]) -> Document:
    root = _root(wanted, by)
    group: Document = {"_id": {_name(name): _value(name, wanted.zone) for name in by} or None}
    return group | {name: {"$sum": f"{root}{name}"} for name in _COUNTED}


def _details(wanted: RollupFilter, by: Sequence[Grouping]) -> Document:
    by_cell, root = _by_cell(wanted, by), _root(wanted, by)
    sums: Document = {}
    for name in TokenCounts.__struct_fields__:
        sums[f"tokens_{name}"] = {"$sum": f"{root}tokens.{name}"}
    for status in _STATUSES:
        of_cell = {"$cond": [{"$eq": [_CELL_STATUS, status]}, "$cells.v.calls", 0]}
        sums[f"status_{status}"] = {"$sum": of_cell if by_cell else f"$status.{status}"}
    return sums


def _root(wanted: RollupFilter, by: Sequence[Grouping]) -> str:
    return "$cells.v." if _by_cell(wanted, by) else "$"


def _value(field: Grouping, zone: str | None) -> Any:
    match field:
        case "hour":
            return _in_zone("%Y-%m-%dT%H:00%z", zone or "UTC", "")
        case "status":
            return _CELL_STATUS
        case "day":
            return "$day" if zone is None else _in_zone("%Y-%m-%d", zone, "$day")
        case "month":
            month = {"$substrCP": ["$day", 0, 7]}
            return month if zone is None else _in_zone("%Y-%m", zone, month)
        case _:
            return {"$ifNull": [f"${_stored(field)}", ""]}


def _in_zone(form: str, zone: str, without_time: Any) -> Document:
    text = {"$dateToString": {"date": _CELL_AT, "format": form, "timezone": zone}}
    return {"$cond": [_HAS_TIME, text, without_time]}


def _stored(field: Grouping) -> str:
    if field.startswith(TAG):
        return f"tags.{field.removeprefix(TAG)}"
    return "day" if field == "month" else _STORED[field]


def _name(field: Grouping) -> str:
    """In the id of a group; its fields have the order of the grouping."""
    return field.replace(":", "_")


def _cell_time(day: date, zone: tzinfo) -> str:
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return midnight.astimezone(UTC).strftime(CELL_TIME)


def _sums(row: Document, by: Sequence[Grouping]) -> Sums:
    return Sums(
        group=tuple(row["_id"][_name(name)] for name in by),
        cost_nusd=int(row["cost_nusd"]),
        calls=int(row["calls"]),
        corrections=int(row["corrections"]),
        statuses={name: int(n) for name in _STATUSES if (n := row.get(f"status_{name}"))},
        tokens={
            name: int(n)
            for name in TokenCounts.__struct_fields__
            if (n := row.get(f"tokens_{name}"))
        },
    )
