"""The rollups' sums as columns: what is asked of many accounts is read from these.

Each posting inserts a segment (`segment_documents`) for each of its days. Folding puts segments of
a day into one in their place. So at any time a day's sums are those of all its segments, and
postings wait for no other.

Rollups, from which one account is read, are written when segments are rolled up: in one transaction
the rollups are added to, and what was added is in a segment that they have. So at any time the
sums of a rollup are those of its document and of the segments that are `unrolled`, which are
kept few and small: `unrolled_sums` reads them.

The document `state` tells whether the segments are `whole`. They are where they count as many
entries as the accounts do: a worker of an earlier release, which knows no segments, counts its
entries in the accounts alone.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from functools import partial

import msgspec

from libs.common.storage.mongo.batched_reads import IDS_PER_READ, find_by_ids
from libs.common.storage.mongo.driver import (
    Database,
    Document,
    Session,
    UpdateOne,
    in_transaction,
)
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.rollup_cells import add_cells
from libs.common.storage.mongo.rollup_rows import CELL_FIELDS
from libs.common.storage.mongo.rollup_updates import Rollup, rollup_updates, rollups_of
from libs.common.storage.mongo.segment_documents import (
    DELTA,
    LARGEST,
    LEVELS,
    UNROLLED,
    fitting,
    foldable,
    folded,
    ids_of,
    since_ms,
    summed,
    table_of,
    unrolled,
)
from libs.common.storage.mongo.sum_tables import SumTable, Tally

STATE = "state"
# On days about today so many segments are folded as belong together.
_FOLDED_AT = 8
_RECENT = timedelta(days=3)
# What the rollups lack is at most so old, and together so large, before it is rolled up.
_ROLLED_UP_AFTER_MS, _MOST_UNROLLED_BYTES = 300_000, 250_000
# Rollups that one transaction adds to, and one command of it.
_ROLLED_UP_AT_ONCE, _UPDATES_AT_ONCE = 1_000, 100
_MAX_ROWS = 20_000

# With all that folding and checking read, so that they read no tables.
INDEXES = (index("rollup_segments", "level", "day", "size", "entries", "_id"),)

# Ids of segments by size, of a day; whether the rollups lack them.
_Sizes = dict[tuple[str, bool], list[tuple[int, str]]]


class RollupSegments:
    """Adds segments, folds them, adds them to the rollups, makes those of earlier days, and tells
    whether they are whole.

    `rollups_by`: the fields of the rollups' shard key, where they are sharded.
    """

    def __init__(self, database: Database, *, rollups_by: Sequence[str] = ()) -> None:
        self._database = database
        self.collection = database["rollup_segments"]
        self._rollups = database["rollups"]
        self._rollups_by = rollups_by

    async def add(self, sums: Mapping[str, Tally], session: Session) -> None:
        """By day, in the transaction that inserts their entries."""
        documents: list[Document] = []
        for day, tally in sums.items():
            documents += unrolled(day, tally.table(), _now_ms())
        await self.collection.insert_many(documents, session=session)

    async def fold(self, today: date | None = None, *, at: int = _FOLDED_AT) -> None:
        """Folds segments of each day, or of those about `today`, where `at` belong together.

        Of two workers that fold the same, one finds nothing left to do.
        """
        for (day, lacking), left in (await self._sizes(today, LARGEST)).items():
            while some := foldable(left, at):
                await in_transaction(self._database, partial(self._fold, day, some, lacking))
                left[:] = [each for each in left if each[1] not in some]

    async def roll_up(
        self,
        *,
        after_ms: int = _ROLLED_UP_AFTER_MS,
        most_bytes: int = _MOST_UNROLLED_BYTES,
        at_once: int = _ROLLED_UP_AT_ONCE,
    ) -> None:
        """Adds to the rollups what they lack, of days where it is old, and of others until what is
        left is no larger than that. `at_once`: so many rollups in one transaction.

        Each rollup is added to once for all postings since the last time.
        """
        before = _now_ms() - after_ms
        by_day = [
            (sum(size for size, _ in found), day, found)
            for (day, _), found in (await self._sizes(None, (UNROLLED,))).items()
        ]
        together = sum(size for size, _, _ in by_day)
        for size, day, found in sorted(by_day, reverse=True):
            if together > most_bytes or _oldest(id_ for _, id_ in found) <= before:
                together -= size
                # What an outage of this alone left may be more than a document takes.
                for ids in fitting(found):
                    await self._roll_up_all(day, ids, at_once)

    async def _roll_up_all(self, day: str, ids: Sequence[str], at_once: int) -> None:
        left = ids
        while left:
            work = partial(self._roll_up, day, left, at_once)
            left = await in_transaction(self._database, work)

    async def _sizes(self, today: date | None, levels: Iterable[str]) -> _Sizes:
        days: Document = {"$gt": "" if today is None else str(today - _RECENT)}
        sizes: _Sizes = {}
        for level in levels:
            query: Document = {"level": level, "day": days}
            async for table in self.collection.find(query, {"day": 1, "size": 1}):
                of = (table["day"], level == UNROLLED)
                sizes.setdefault(of, []).append((table["size"], table["_id"]))
        return sizes

    async def _fold(self, day: str, ids: Sequence[str], lacking: bool, session: Session) -> None:
        """The ids are those of the segments' largest tables."""
        tables = await self._take(ids, session)
        if tables is not None:
            # Postings go on meanwhile.
            work = partial(_together if lacking else folded, day, tables, _oldest(ids))
            await self.collection.insert_many(await asyncio.to_thread(work), session=session)

    async def _roll_up(
        self, day: str, ids: Sequence[str], at_once: int, session: Session
    ) -> list[str]:
        """Some of it. Returns the ids of the rest."""
        tables = await self._take(ids, session)
        if tables is None:
            return []
        part = _RollUp(day=day, since_ms=_oldest(ids), at_once=at_once, by=self._rollups_by)
        rolled = await asyncio.to_thread(part.of, tables)
        for start in range(0, len(rolled.updates), _UPDATES_AT_ONCE):
            some = rolled.updates[start : start + _UPDATES_AT_ONCE]
            await self._rollups.bulk_write(some, session=session)
        await self.collection.insert_many([*rolled.folded, *rolled.rest], session=session)
        return [each["_id"] for each in rolled.rest]

    async def _take(self, ids: Sequence[str], session: Session) -> list[SumTable] | None:
        """Removes the segments, first of all, so that of two who want them one fails at once.
        None where another has taken some.
        """
        found = await find_by_ids(self.collection, ids, ("table",), session)
        if len(found) < len(ids):
            return None
        gone = [each for id_ in ids for each in ids_of(id_)]
        for start in range(0, len(gone), IDS_PER_READ):
            some = gone[start : start + IDS_PER_READ]
            await self.collection.delete_many({"_id": {"$in": some}}, session=session)
        return [table_of(each) for each in found]

    async def check(self) -> bool:
        """Keeps in the state, and returns, whether no entry is missing.

        In one transaction, so that no check overwrites what a later one found.
        """

        async def work(session: Session) -> bool:
            number: Document = {"$group": {"_id": None, "entries": {"$sum": "$entries"}}}
            largest: Document = {"level": {"$in": [*LARGEST]}}
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

        What the rollups lack stays as it is. What is rolled up or posted meanwhile is in none of
        the rollups that are read, and in a segment that is not removed.
        """
        for day in await self._rollups.distinct("day"):
            await in_transaction(self._database, partial(self._fill, day))
        return await self.check()

    async def _fill(self, day: str, session: Session) -> None:
        segments = {"level": {"$in": [*LEVELS, DELTA]}, "day": day}
        await self.collection.delete_many(segments, session=session)
        tally = Tally(CELL_FIELDS)
        async for document in self._rollups.find({"day": day}, session=session):
            add_cells(tally, document)
            if len(tally) >= _MAX_ROWS:
                await self._insert(day, tally, session)
                tally = Tally(CELL_FIELDS)
        if len(tally):
            await self._insert(day, tally, session)

    async def _insert(self, day: str, tally: Tally, session: Session) -> None:
        documents = await asyncio.to_thread(folded, day, [tally.table()], _now_ms())
        await self.collection.insert_many(documents, session=session)


class _RolledUp(msgspec.Struct, frozen=True):
    """What is added to the rollups, the segment of it, and that of what they still lack."""

    updates: list[UpdateOne]
    folded: list[Document]
    rest: list[Document]


class _RollUp(msgspec.Struct, frozen=True, kw_only=True):
    """Of the rollups of a day the first `at_once`."""

    day: str
    since_ms: int
    at_once: int
    by: Sequence[str]

    def of(self, tables: Sequence[SumTable]) -> _RolledUp:
        table = summed(CELL_FIELDS, *tables)
        rollups = rollups_of(table, self.day)
        some, others = rollups[: self.at_once], rollups[self.at_once :]
        updates = rollup_updates(table, some, by=self.by)
        rest: list[Document] = []
        if others:
            rest = unrolled(self.day, _part(table, others), self.since_ms)
            table = _part(table, some)
        return _RolledUp(updates, folded(self.day, [table], self.since_ms), rest)


def _together(day: str, tables: Sequence[SumTable], oldest_ms: int) -> list[Document]:
    return unrolled(day, summed(CELL_FIELDS, *tables), oldest_ms)


def _part(table: SumTable, rollups: Iterable[Rollup]) -> SumTable:
    tally = Tally(CELL_FIELDS)
    tally.add(table, rows=[row for rollup in rollups for row in rollup.rows])
    return tally.table()


def _oldest(ids: Iterable[str]) -> int:
    return min(map(since_ms, ids))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
