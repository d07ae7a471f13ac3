"""Reads entries in order, the newest first, by stretches of time.

A query sees a bounded stretch of the index on start times, and nothing stays open between two of
them: whoever reads slowly holds no cursor, and a server that sorts before it limits sorts little.
"""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import msgspec

from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.driver import DESCENDING, Collection, Document, from_document
from libs.common.storage.mongo.entry_filter import EntryFilter, EntryPlace

# The first stretch; an empty one makes the next longer, so that years without entries are few.
_SPAN = timedelta(hours=4)
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
    place, span = wanted.before, _SPAN
    floor = wanted.since or _BEGINNING
    while True:
        top = min(now, wanted.until or now, now if place is None else place.started_at)
        since = floor if top - floor <= span else top - span
        part = msgspec.structs.replace(wanted, since=since, before=place)
        edge = await _edge(entries, part, looked_at) if part.is_selective else None
        found = await _found(entries, part.query(edge), size, without)
        if len(found) == size:
            place = place_of(found[-1])
            span = max(span / 2, _SHORTEST)
        elif edge is not None:
            place = edge
            span = max(span / 2, _SHORTEST)
        else:
            # Nothing that starts at `since` is left. No id sorts before the empty one.
            place = EntryPlace(since, "") if since > floor else None
            span *= _WIDER if len(found) * _WIDER < size else 1
        yield Stretch(entries=found, last=place, is_cut=edge is not None)
        if place is None:
            return


def place_of(entry: LedgerEntry) -> EntryPlace:
    return EntryPlace(entry.started_at, entry.entry_id)


async def _edge(entries: Collection, part: EntryFilter, looked_at: int) -> EntryPlace | None:
    """The last entry to look at; None where that is the last one there is."""
    in_order = entries.find(part.in_order(), {"started_at": 1})
    rows = await in_order.sort(_NEWEST_FIRST).skip(looked_at - 1).limit(1).to_list(1)
    return EntryPlace(rows[0]["started_at"], rows[0]["_id"]) if rows else None


async def _found(
    entries: Collection, query: Document, size: int, without: tuple[str, ...]
) -> list[LedgerEntry]:
    fields = dict.fromkeys(without, 0) or None
    cursor = entries.find(query, fields).sort(_NEWEST_FIRST).limit(size)
    empty: Document = dict.fromkeys(without, ())
    return [from_document(row | empty, LedgerEntry) for row in await cursor.to_list(size)]
