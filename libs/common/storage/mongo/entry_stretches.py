"""Reads entries in order, the newest first, by stretches of time.

A query sees a bounded stretch of the index on start times, and nothing stays open between two of
them: whoever reads slowly holds no cursor, and a server that sorts before it limits sorts little.
"""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from libs.common.domain.periods import period_bounds
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.driver import DESCENDING, Collection, Document, from_document
from libs.common.storage.mongo.entry_filter import EntryFilter, EntryPlace

# The first stretch; an empty one makes the next longer, so that years without entries are few.
_SPAN, _SPAN_OF_RARE = timedelta(hours=4), timedelta(days=4)
_SHORTEST, _WIDER = timedelta(minutes=1), 4
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_NEWEST_FIRST = [("started_at", DESCENDING), ("_id", DESCENDING)]


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Its entries, and where the next one goes on: None at the end.

    `is_cut`: it looked at as many entries as it may.
    """

    entries: list[LedgerEntry]
    last: EntryPlace | None
    is_cut: bool


async def stretches(
    entries: Collection,
    wanted: EntryFilter,
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
    place = wanted.before
    span = _SPAN if wanted.rare is None else _SPAN_OF_RARE
    if wanted.is_of_few:
        span = now - _BEGINNING
    while True:
        if place is not None and place.entry_id:
            # Of the same millisecond, in the order of their ids.
            same = {"started_at": place.started_at, "_id": {"$lt": place.entry_id}}
            queries = [query | same for query in wanted.queries()]
            found = await _found(entries, queries, size, without)
            place = place_of(found[-1]) if len(found) == size else EntryPlace(place.started_at, "")
            yield Stretch(entries=found, last=place, is_cut=False)
            continue
        part = _part(wanted, place, now, span)
        edge = await _edge(entries, part, looked_at) if part.is_selective else None
        if edge is not None:
            part = msgspec.structs.replace(part, since=edge)
        found = await _found(entries, part.queries(), size, without)
        if len(found) == size:
            place = place_of(found[-1])
        else:
            # No id sorts before the empty one.
            is_end = part.since == _floor(wanted)
            place = None if is_end or part.since is None else EntryPlace(part.since, "")
        if edge is not None or len(found) == size:
            span = max(span / 2, _SHORTEST)
        elif len(found) * _WIDER < size:
            span *= _WIDER
        yield Stretch(entries=found, last=place, is_cut=edge is not None)
        if place is None:
            return


def _part(
    wanted: EntryFilter, place: EntryPlace | None, now: datetime, span: timedelta
) -> EntryFilter:
    """What is wanted of the span before the place, at most; without a `since` all of it."""
    until = wanted.until if place is None else place.started_at
    top, floor = min(now, until or now), _floor(wanted)
    since = top - span if top - (floor or _BEGINNING) > span else floor
    return msgspec.structs.replace(wanted, since=since, until=until)


def _floor(wanted: EntryFilter) -> datetime | None:
    if wanted.period is None:
        return wanted.since
    since, _ = period_bounds(wanted.period)
    return since if wanted.since is None else max(since, wanted.since)


def place_of(entry: LedgerEntry) -> EntryPlace:
    return EntryPlace(entry.started_at, entry.entry_id)


async def _edge(entries: Collection, part: EntryFilter, looked_at: int) -> datetime | None:
    """When the last entry to look at started; None where there are no more than that."""
    in_order = entries.find(part.in_order(), {"started_at": 1})
    rows = await in_order.sort(_NEWEST_FIRST).skip(looked_at - 1).limit(1).to_list(1)
    return rows[0]["started_at"] if rows else None


async def _found(
    entries: Collection, queries: Sequence[Document], size: int, without: tuple[str, ...]
) -> list[LedgerEntry]:
    """What any of the queries finds, the newest first."""
    fields = dict.fromkeys(without, 0) or None
    empty: Document = dict.fromkeys(without, ())
    rows: dict[str, LedgerEntry] = {}
    for query in queries:
        cursor = entries.find(query, fields).sort(_NEWEST_FIRST).limit(size)
        for row in await cursor.to_list(size):
            rows[row["_id"]] = from_document(row | empty, LedgerEntry)
    found = list(rows.values())
    if len(queries) > 1:
        found.sort(key=lambda entry: (entry.started_at, entry.entry_id), reverse=True)
    return found[:size]
