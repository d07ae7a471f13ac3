"""The rollups' sums a second time, as columns: what is asked of many accounts is read from these.

A segment has the sums of some postings to one day, as tables of `sum_tables`, each in a document of
the collection `rollup_segments`. Each posting inserts a segment for each of its days, with a table
of the level `delta` alone. Folding puts segments of a day into one in their place, with a table for
each of the LEVELS, of which the smaller ones answer most questions. So at any time a day's sums are
those of all its segments, and postings wait for no other.

The document `state` tells whether the segments are `whole`. They are where they count as many
entries as the accounts do: a worker of an earlier release, which knows no segments, counts its
entries in the accounts alone.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from itertools import chain

import msgspec

from libs.common.domain.ids import uuid7
from libs.common.storage.mongo.driver import (
    Database,
    Document,
    Session,
    in_transaction,
)
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.rollup_rows import CELL_TIME_CHARS, CELLS_VERSION, RollupRow
from libs.common.storage.mongo.sum_tables import (
    OF_STATUS,
    STATUS,
    SumTable,
    Tally,
    decoded_table,
)

HOUR, TAGS, DELTA, STATE, ASKED = "hour", "tags", "delta", "state", "asked"
TOTALS, USERS, ROWS, _CELLS = "totals", "users", "rows", "cells"
IN_CELLS = (HOUR, STATUS)
_FIELDS = ("user_id", "key_id", "model", "provider", "requested_model", "client_user")
_ALL = (*_FIELDS, TAGS, *IN_CELLS)
# What the rows of each level are summed by.
LEVELS: Mapping[str, tuple[str, ...]] = {
    TOTALS: ("model", "provider"),
    "accounts": ("user_id",),
    USERS: ("client_user",),
    "hours": ("model", "provider", *IN_CELLS),
    ROWS: (*_FIELDS, TAGS),
    "cells": _ALL,
}
# Of the table that has all of a segment, and counts its entries.
_LARGEST = (_CELLS, DELTA)
_CELL, _TAGS = "cells.", f"{TAGS}."
_COUNTED = ("cost_nusd", "calls", "corrections")
_DETAILS = ("status", "tokens")
# A segment is folded with all smaller ones where it is small, or at most so many times as large as
# they are together; on days about today where there are so many.
_RATIO, _SMALL_BYTES, _FOLDED_AT = 4, 16_384, 8
# Of cells that are folded together; the other levels are no larger. MongoDB takes 16 MiB.
_MAX_BYTES, _MOST_AT_ONCE = 2_000_000, 1_000
_MAX_ROWS = 20_000
# Beside the level `hours`, which lacks them: the names of models that its calls asked for.
_MAX_ASKED = 200
_RECENT = timedelta(days=3)

# With all that folding and checking read, so that they read no tables.
INDEXES = (index("rollup_segments", "level", "day", "size", "entries", "_id"),)

# Sums by name, by the name of the rollup's cell.
_Cells = Mapping[str, Mapping[str, int]]
_encode = msgspec.json.Encoder(order="sorted").encode


class RollupSegments:
    """Adds segments, folds them, makes those of earlier days, and tells whether they are whole."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.collection = database["rollup_segments"]
        self._rollups = database["rollups"]

    async def add(self, rows: Iterable[RollupRow], session: Session) -> None:
        """In the transaction that adds these rows to the rollups."""
        tallies: dict[str, Tally] = {}
        for row in rows:
            _add_cells(tallies, row.fields, _cells_added(row.added))
        deltas = [_documents(day, {DELTA: tally.table()}) for day, tally in tallies.items()]
        await self.collection.insert_many(chain.from_iterable(deltas), session=session)

    async def fold(self, today: date | None = None, *, at: int = _FOLDED_AT) -> None:
        """Folds segments of each day, or of those about `today`, where `at` belong together.

        Of two workers that fold the same, one finds nothing left to do.
        """
        days: Document = {"$gt": "" if today is None else str(today - _RECENT)}
        sizes: dict[str, list[tuple[int, str]]] = {}
        for level in _LARGEST:
            query: Document = {"level": level, "day": days}
            async for table in self.collection.find(query, {"day": 1, "size": 1}):
                sizes.setdefault(table["day"], []).append((table["size"], table["_id"]))
        for day, left in sizes.items():
            while len(some := foldable(left)) >= at:
                await in_transaction(self._database, partial(self._fold, day, some))
                left[:] = [each for each in left if each[1] not in some]

    async def _fold(self, day: str, ids: Sequence[str], session: Session) -> None:
        """The ids are those of the segments' largest tables."""
        query = {"_id": {"$in": list(ids)}}
        found = await self.collection.find(query, session=session).to_list(len(ids))
        if len(found) < len(ids):
            return
        # Postings go on meanwhile.
        folded = await asyncio.to_thread(_folded, day, [table_of(each) for each in found])
        gone = [f"{id_.partition('|')[0]}|{level}" for id_ in ids for level in (*LEVELS, DELTA)]
        await self.collection.delete_many({"_id": {"$in": gone}}, session=session)
        await self.collection.insert_many(folded, session=session)

    async def check(self) -> bool:
        """Keeps in the state, and returns, whether no entry is missing.

        In one transaction, so that no check overwrites what a later one found.
        """

        async def work(session: Session) -> bool:
            number: Document = {"$group": {"_id": None, "entries": {"$sum": "$entries"}}}
            largest: Document = {"level": {"$in": [*_LARGEST]}}
            counts = []
            for counted, query in ((self._database["accounts"], {}), (self.collection, largest)):
                stages = [{"$match": query}, number]
                rows = await counted.aggregate(stages, session=session).to_list(1)
                counts.append(int(rows[0]["entries"]) if rows else 0)
            whole = counts[0] == counts[1]
            state = {"$set": {"whole": whole, "ledger_entries": counts[0]}}
            await self.collection.update_one({"_id": STATE}, state, upsert=True, session=session)
            return whole

        return await in_transaction(self._database, work)

    async def fill(self) -> bool:
        """Makes the segments of all days anew, while others post. Returns whether they are whole.

        What is posted meanwhile is in none of the rollups that are read, and in a segment that is
        not removed.
        """
        for day in await self._rollups.distinct("day"):
            await in_transaction(self._database, partial(self._fill, day))
        return await self.check()

    async def _fill(self, day: str, session: Session) -> None:
        segments = {"level": {"$in": [*LEVELS, DELTA]}, "day": day}
        await self.collection.delete_many(segments, session=session)
        tallies: dict[str, Tally] = {}
        async for document in self._rollups.find({"day": day}, session=session):
            _add_cells(tallies, document, _cells_kept(document))
            if len(tallies[day]) >= _MAX_ROWS:
                await self._insert(day, tallies.pop(day), session)
        if tallies:
            await self._insert(day, tallies[day], session)

    async def _insert(self, day: str, tally: Tally, session: Session) -> None:
        folded = await asyncio.to_thread(_folded, day, [tally.table()])
        await self.collection.insert_many(folded, session=session)


def table_of(document: Document) -> SumTable:
    return decoded_table(document["table"])


def foldable(sizes: Iterable[tuple[int, str]]) -> list[str]:
    """Of segments by size, the smaller ones that belong together.

    One is folded again when as much as a share of it was added. So each sum is written a few times
    again, whatever the day's number of postings, and few segments of any size remain.
    """
    chosen: list[str] = []
    together = 0
    for size, id_ in sorted(sizes)[:_MOST_AT_ONCE]:
        if together + size > _MAX_BYTES or size > max(_RATIO * together, _SMALL_BYTES):
            break
        chosen.append(id_)
        together += size
    return chosen


def _add_cells(tallies: dict[str, Tally], fields: Document, cells: _Cells) -> None:
    """To the tally of the rollup's day."""
    tags = fields.get("tags") or {
        name.removeprefix(_TAGS): tag for name, tag in fields.items() if name.startswith(_TAGS)
    }
    of = (*[fields.get(name) or "" for name in _FIELDS], _encode(tags).decode() if tags else "")
    tally = tallies.setdefault(fields["day"], Tally(_ALL))
    for cell, sums in cells.items():
        hour, status = cell[:CELL_TIME_CHARS], cell[CELL_TIME_CHARS + 1 :]
        tally.add_row((*of, hour, status), sums)


def _cells_added(added: Mapping[str, int]) -> _Cells:
    """Of a posting, which adds nothing beside its cells."""
    cells: dict[str, dict[str, int]] = {}
    for path, number in added.items():
        if path.startswith(_CELL):
            cell, _, name = path[len(_CELL) :].partition(".")
            cells.setdefault(cell, {})[name] = number
    return cells


def _cells_kept(rollup: Document) -> _Cells:
    """What is in no cell has one without time and status."""
    rest = Counter({name: rollup.get(name, 0) for name in _COUNTED})
    for name in _DETAILS:
        rest.update({f"{name}.{each}": n for each, n in rollup.get(name, {}).items()})
    if rollup.get("v") != CELLS_VERSION:
        return {"": rest}
    cells = {
        cell: {name: n for name, n in sums.items() if name != "tokens"}
        | {f"tokens.{name}": n for name, n in sums.get("tokens", {}).items()}
        for cell, sums in rollup["cells"].items()
    }
    for cell, sums in cells.items():
        rest.subtract(sums)
        rest[OF_STATUS + cell[CELL_TIME_CHARS + 1 :]] -= sums.get("calls", 0)
    return cells | ({"": rest} if any(rest.values()) else {})


def _folded(day: str, parts: Iterable[SumTable]) -> list[Document]:
    cells = _summed(_ALL, *parts)
    rows = _summed(LEVELS[ROWS], cells)
    sources = {"hours": cells, "accounts": rows, USERS: rows, TOTALS: rows}
    smaller = {level: _summed(LEVELS[level], table) for level, table in sources.items()}
    documents = _documents(day, {_CELLS: cells, ROWS: rows} | smaller)
    asked = list(rows.field("requested_model").values)
    if len(asked) <= _MAX_ASKED:
        next(each for each in documents if each["level"] == "hours")[ASKED] = asked
    return documents


def _documents(day: str, tables: Mapping[str, SumTable]) -> list[Document]:
    """Of one segment. The first table has all that it counts."""
    segment = uuid7(time.time_ns() // 1_000_000, os.urandom(10))
    documents = []
    for level, table in tables.items():
        data = table.encoded()
        names = {"_id": f"{segment}|{level}", "level": level, "day": day}
        documents.append(names | {"size": len(data), "table": data})
    documents[0]["entries"] = next(iter(tables.values())).entries
    return documents


def _summed(fields: Sequence[str], *tables: SumTable) -> SumTable:
    tally = Tally(fields)
    for table in tables:
        tally.add(table)
    return tally.table()
