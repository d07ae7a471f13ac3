"""Reads entries in order, the newest first, by stretches of time.

A query sees a bounded stretch of the index on start times, and nothing stays open between two of
them: whoever reads slowly holds no cursor, and a server that sorts before it limits sorts little.
"""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import msgspec

from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.driver import (
    DESCENDING,
    Collection,
    Database,
    Document,
    from_document,
)
from libs.common.storage.mongo.entry_filter import EntryFilter, EntryPlace, IndexedQuery
from libs.common.storage.mongo.entry_hours import EntryHours
from libs.common.storage.mongo.entry_spans import SpanPart, SpanParts, Spans, floor_of

_NEWEST_FIRST = {"started_at": DESCENDING, "_id": DESCENDING}


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Its entries, and where the next one goes on: None at the end.

    `is_cut` and `may_be_last`: as of `SpanPart`.
    """

    entries: list[LedgerEntry]
    last: EntryPlace | None
    is_cut: bool = False
    may_be_last: bool = False


async def stretches(
    database: Database,
    filters: EntryFilter,
    now: datetime,
    *,
    size: int,
    looked_at: int,
    without: tuple[str, ...] = (),
) -> AsyncGenerator[Stretch, None]:
    """Each has at most `size` entries, and was found among at most `looked_at`.

    Entries that start after the first stretch was read are not seen, so it ends. The fields
    `without` are left out of what is read, and are empty.
    """
    entries, place = database["entries"], filters.before
    parts = await _parts(database, filters, now, size, looked_at)
    while True:
        if place is not None and place.entry_id:
            # Of the same millisecond, in the order of their ids.
            conditions = {"started_at": place.started_at, "_id": {"$lt": place.entry_id}}
            queries = [query.also(conditions) for query in filters.queries()]
            found = await _find(entries, queries, size, without)
            place = (
                entry_place(found[-1]) if len(found) == size else EntryPlace(place.started_at, "")
            )
            yield Stretch(entries=found, last=place)
            continue
        part = await parts.next(place)
        if part is None:
            yield Stretch(entries=[], last=None)
            return
        if part.is_empty:
            place = _end(filters, part)
            yield Stretch(entries=[], last=place, may_be_last=part.may_be_last)
            continue
        found = await _find(entries, part.filters.queries(), size, without, part.looks_at)
        is_full = len(found) == size
        edge = None
        if not is_full and not await parts.has_few(part):
            edge = await _edge(entries, part)
        place = entry_place(found[-1]) if is_full else edge or _end(filters, part)
        parts.observe(len(found), is_whole=edge is None)
        yield Stretch(
            entries=found,
            last=place,
            is_cut=part.is_cut or (edge is not None and part.looks_at == looked_at),
            may_be_last=part.may_be_last,
        )
        if place is None:
            return


async def _parts(
    database: Database, filters: EntryFilter, now: datetime, size: int, looked_at: int
) -> SpanParts:
    if not filters.is_selective or filters.rare is not None:
        return Spans(filters, now, size=size, most=looked_at)
    if filters.user_id is None:
        return EntryHours(database, filters, now, size=size, most=looked_at)
    account = await database["accounts"].find_one({"_id": filters.user_id}, {"entries": 1})
    count = None if account is None else account.get("entries")
    return Spans(filters, now, size=size, most=looked_at, count=count)


def _end(filters: EntryFilter, part: SpanPart) -> EntryPlace | None:
    """Where a part ends that was read to its end."""
    since = part.filters.since
    # No id sorts before the empty one.
    return None if since is None or since == floor_of(filters) else EntryPlace(since, "")


def entry_place(entry: LedgerEntry) -> EntryPlace:
    return EntryPlace(entry.started_at, entry.entry_id)


async def _edge(entries: Collection, part: SpanPart) -> EntryPlace | None:
    """Where the last entry to look at stands; None where there are no more than that."""
    if part.looks_at is None:
        return None
    in_order = entries.find(part.filters.in_order(), {"started_at": 1})
    newest_first = list(_NEWEST_FIRST.items())
    rows = await in_order.sort(newest_first).skip(part.looks_at - 1).limit(1).to_list(1)
    return EntryPlace(rows[0]["started_at"], rows[0]["_id"]) if rows else None


async def _find(
    entries: Collection,
    queries: Sequence[IndexedQuery],
    size: int,
    without: tuple[str, ...],
    looks_at: int | None = None,
) -> list[LedgerEntry]:
    """What any of the queries finds, the newest first."""
    empty: Document = dict.fromkeys(without, ())
    rows: dict[str, LedgerEntry] = {}
    for query in queries:
        pipeline = _pipeline(query, size, without, looks_at)
        for row in await entries.aggregate(pipeline).to_list(size):
            rows[row["_id"]] = from_document(row | empty, LedgerEntry)
    found = list(rows.values())
    if len(queries) > 1:
        found.sort(key=lambda entry: (entry.started_at, entry.entry_id), reverse=True)
    return found[:size]


def _pipeline(
    query: IndexedQuery, size: int, without: tuple[str, ...], looks_at: int | None
) -> list[Document]:
    """MongoDB plans both conditions as one; another server finds the index by the first alone."""
    rest: list[Document] = [{"$match": query.rest}] if query.rest else []
    stages: list[Document] = [{"$match": query.lead}]
    if looks_at is None:
        stages += [*rest, {"$sort": _NEWEST_FIRST}]
    else:
        stages += [{"$sort": _NEWEST_FIRST}, {"$limit": looks_at}, *rest]
    stages.append({"$limit": size})
    return [*stages, {"$project": dict.fromkeys(without, 0)}] if without else stages
