"""Sums of the collection `rollups`, which `rollup_rows` describes. Nothing here reads an entry.

What is asked of more than one account is answered from `rollup_segments` where these are whole; of
one, these have what its rollups lack.

A rollup's day is that of its account's time zone; a `zone` puts its cells, hours of the account's
clock, into the days and hours of another. What was written before rollups had a field (provider,
cells, asked name, …) counts without a value of it.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, get_args

import msgspec

from libs.common.schemas.usage import CallStatus, TokenCounts
from libs.common.storage.mongo.driver import Database, Document, Session, in_transaction
from libs.common.storage.mongo.rollup_filter import (
    NOTHING,
    Grouping,
    RankedSums,
    RollupFilter,
    Sums,
    added,
    stored_name,
)
from libs.common.storage.mongo.rollup_rows import CELL_TIME, CELL_TIME_CHARS, CELLS_VERSION
from libs.common.storage.mongo.segment_sums import segment_sums, unrolled_sums

_COUNTED = ("cost_nusd", "calls", "corrections")
_STATUSES = (*get_args(CallStatus), "unpriced")
# Names of groups in one command, which has to fit into a document.
_NAMED_AT_ONCE = 10_000
_IN_CELLS = frozenset({"hour", "status"})
_UNSTORED = _IN_CELLS | {"day", "month"}
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


class _Query(msgspec.Struct, frozen=True, kw_only=True):
    """The dearest of all groups, or of these `groups`."""

    filters: RollupFilter
    by: Sequence[Grouping]
    limit: int
    groups: Sequence[tuple[str, ...]] | None = None
    brief: bool = False


class RollupReader:
    """Reads what `LedgerStore` adds up.

    One account is read from the segments, too, in a ledger of at most `few_entries`.
    """

    def __init__(self, database: Database, *, few_entries: int = 0) -> None:
        self._database = database
        self._rollups = database["rollups"]
        self._few_entries = few_entries

    async def sums(
        self, filters: RollupFilter, by: Sequence[Grouping], *, limit: int, brief: bool = False
    ) -> list[Sums]:
        """One row per group, the dearest first; without fields to group by, one row or none.

        A `brief` row may have no statuses and tokens, most of the work. Raises TooManyGroups where
        the rollups lack too much, as after an outage of the roll-up alone.
        """
        query = _Query(filters=filters, by=by, limit=limit, brief=brief)
        found = await self._of_segments(query)
        return await self._grouped(query) if found is None else found.rows

    async def ranked(
        self,
        filters: RollupFilter,
        by: Sequence[Grouping],
        *,
        limit: int,
        groups: Sequence[tuple[str, ...]] | None = None,
    ) -> RankedSums:
        """The dearest of all groups, or of these. Raises TooManyGroups, as `sums`."""
        query = _Query(filters=filters, by=by, limit=limit, groups=groups)
        found = await self._of_segments(query)
        if found is not None:
            return found
        total = await self._grouped(_Query(filters=filters, by=(), limit=1))
        if groups is not None and len(by) == 1 and by[0] not in _UNSTORED and not filters.among:
            names = tuple([name for (name,) in groups])
            filters = msgspec.structs.replace(filters, among=(by[0], names))
            query = msgspec.structs.replace(query, filters=filters)
        rows = await self._grouped(query) if limit else []
        return RankedSums(rows=rows, total=total[0] if total else NOTHING)

    async def _of_segments(self, query: _Query) -> RankedSums | None:
        filters, most = query.filters, self._few_entries
        if filters.user_id is not None and not most:
            return None
        found = await segment_sums(self._database, filters, query.by, most_entries=most)
        if found is None:
            return None
        return await asyncio.to_thread(found.ranked, query.limit, query.groups, query.brief)

    async def _grouped(self, query: _Query) -> list[Sums]:
        """From the rollups, by MongoDB, and from what these lack, in one snapshot."""

        async def work(session: Session) -> list[Sums]:
            unrolled = await unrolled_sums(self._database, query.filters, query.by, session)
            number = len(unrolled.tally)
            if not number:
                return await self._of_rollups(query, session)
            lacking = unrolled.ranked(number, query.groups, query.brief).rows
            # Of the dearest, so many may be others than those of the rollups alone.
            wider = msgspec.structs.replace(query, limit=query.limit + number)
            rows = await self._of_rollups(wider, session)
            if len(rows) == wider.limit:
                names = [row.group for row in lacking]
                for start in range(0, len(names), _NAMED_AT_ONCE):
                    chunk = names[start : start + _NAMED_AT_ONCE]
                    chunk_query = msgspec.structs.replace(query, limit=len(chunk), groups=chunk)
                    rows += await self._of_rollups(chunk_query, session)
            sums = {row.group: row for row in rows}
            for row in lacking:
                sums[row.group] = added(sums.get(row.group), row)
            return sorted(sums.values(), key=lambda row: (-row.cost_nusd, row.group))[: query.limit]

        return await in_transaction(self._database, work)

    async def _of_rollups(self, query: _Query, session: Session) -> list[Sums]:
        filters, by = query.filters, query.by
        group = _group(filters, by) if query.brief else _group(filters, by) | _details(filters, by)
        pipeline = [*_rows(filters, by), {"$group": group}]
        if query.groups is not None and by:
            ids = [dict(zip(map(_name, by), group, strict=True)) for group in query.groups]
            pipeline.append({"$match": {"_id": {"$in": ids}}})
        pipeline += [{"$sort": {"cost_nusd": -1, "_id": 1}}, {"$limit": query.limit}]
        cursor = self._rollups.aggregate(pipeline, allowDiskUse=True, session=session)
        return [_sums(row, by) for row in await cursor.to_list(query.limit)]

    async def has_model(self, model: str) -> bool:
        """Whether a call was ever routed to it."""
        filters = RollupFilter(since=date.min, until=date.max, model=model)
        return bool(await self.sums(filters, (), limit=1, brief=True))


def _by_cell(filters: RollupFilter, by: Iterable[Grouping]) -> bool:
    return filters.zone is not None or filters.status is not None or not _IN_CELLS.isdisjoint(by)


def _rows(filters: RollupFilter, by: Sequence[Grouping]) -> list[Document]:
    """The documents, or where they do not tell enough their cells."""
    stages: list[Document] = [{"$match": filters.query()}]
    if _by_cell(filters, by):
        fields = {stored_name(name).partition(".")[0]: 1 for name in by if name not in _IN_CELLS}
        stages += [
            {"$project": {"day": 1, **fields, "cells": _CELLS}},
            {"$unwind": "$cells"},
            {"$match": _cells(filters)},
        ]
    return stages


def _group(filters: RollupFilter, by: Sequence[Grouping]) -> Document:
    root = _root(filters, by)
    group: Document = {"_id": {_name(name): _value(name, filters.zone) for name in by} or None}
    return group | {name: {"$sum": f"{root}{name}"} for name in _COUNTED}


def _details(filters: RollupFilter, by: Sequence[Grouping]) -> Document:
    by_cell, root = _by_cell(filters, by), _root(filters, by)
    sums: Document = {}
    for name in TokenCounts.__struct_fields__:
        sums[f"tokens_{name}"] = {"$sum": f"{root}tokens.{name}"}
    for status in _STATUSES:
        of_cell = {"$cond": [{"$eq": [_CELL_STATUS, status]}, "$cells.v.calls", 0]}
        sums[f"status_{status}"] = {"$sum": of_cell if by_cell else f"$status.{status}"}
    return sums


def _root(filters: RollupFilter, by: Sequence[Grouping]) -> str:
    return "$cells.v." if _by_cell(filters, by) else "$"


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
            return {"$ifNull": [f"${stored_name(field)}", ""]}


def _in_zone(form: str, zone: str, without_time: Any) -> Document:
    text = {"$dateToString": {"date": _CELL_AT, "format": form, "timezone": zone}}
    return {"$cond": [_HAS_TIME, text, without_time]}


def _name(field: Grouping) -> str:
    """In the id of a group; its fields have the order of the grouping."""
    return field.replace(":", "_")


def _cells(filters: RollupFilter) -> Document:
    """Which cells of the documents are wanted."""
    query: Document = {}
    times = filters.times()
    if times is not None:
        days = {"$gte": filters.since.isoformat(), "$lt": filters.until.isoformat()}
        bounds = dict(zip(("$gte", "$lt"), times, strict=True))
        query["$or"] = [{"cells.k": bounds}, {"cells.k": "", "day": days}]
    if filters.status is not None:
        query["$expr"] = {"$eq": [_CELL_STATUS, filters.status]}
    return query


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
