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
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial

from libs.common.storage.mongo.driver import ASCENDING, Document, Session, in_transaction
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.roll_ups import RollUps
from libs.common.storage.mongo.rollup_cells import add_cells
from libs.common.storage.mongo.rollup_rows import CELL_FIELDS
from libs.common.storage.mongo.segment_documents import (
    DELTA,
    LARGEST,
    LEVELS,
    foldable,
    folded,
    oldest,
    summed_tables,
    unrolled,
)
from libs.common.storage.mongo.sum_tables import SumTable, Tally

STATE = "state"
# On days about today so many segments are folded as belong together.
_FOLDED_AT = 8
_MAX_ROWS = 20_000

# Accounts whose entries one command adds up.
_COUNTED_AT_ONCE = 100_000
_ENTRIES: Document = {"entries": {"$sum": "$entries"}}

# With all that folding and checking read, so that they read no tables.
INDEXES = (index("rollup_segments", "level", "day", "size", "entries", "_id"),)


class RollupSegments(RollUps):
    """Adds segments, folds them, makes those of earlier days, and tells whether they are whole."""

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
            while ids := foldable(left, at):
                await in_transaction(self._database, partial(self._fold, day, ids, lacking))
                left[:] = [each for each in left if each[1] not in ids]

    async def _fold(self, day: str, ids: Sequence[str], lacking: bool, session: Session) -> None:
        """The ids are those of the segments' largest tables."""
        tables = await self._take(ids, session)
        if tables is not None:
            # Postings go on meanwhile.
            work = partial(_together if lacking else folded, day, tables, oldest(ids))
            await self.collection.insert_many(await asyncio.to_thread(work), session=session)

    async def check(self, *, at_once: int = _COUNTED_AT_ONCE) -> bool:
        """Keeps in the state, and returns, whether no entry is missing.

        In one transaction, so that no check overwrites what a later one found. `at_once`: so many
        accounts are read by one command.
        """

        async def work(session: Session) -> bool:
            entries = await self._entries_of_accounts(at_once, session)
            largest: Document = {"$match": {"level": {"$in": [*LARGEST]}}}
            stages = [largest, {"$group": {"_id": None, **_ENTRIES}}]
            rows = await self.collection.aggregate(stages, session=session).to_list(1)
            is_whole = entries == (int(rows[0]["entries"]) if rows else 0)
            state = {"$set": {"whole": is_whole, "ledger_entries": entries}}
            await self.collection.update_one({"_id": STATE}, state, upsert=True, session=session)
            return is_whole

        return await in_transaction(self._database, work)

    async def _entries_of_accounts(self, at_once: int, session: Session) -> int:
        """No command takes longer, however many accounts there are."""
        entries, number, ids = 0, at_once, Document()
        while number == at_once:
            stages: list[Document] = [
                {"$match": ids},
                {"$sort": {"_id": ASCENDING}},
                {"$limit": at_once},
                {
                    "$group": {
                        "_id": None,
                        **_ENTRIES,
                        "read": {"$sum": 1},
                        "last": {"$max": "$_id"},
                    }
                },
            ]
            cursor = self._database["accounts"].aggregate(stages, session=session)
            rows = await cursor.to_list(1)
            if not rows:
                break
            entries, number = entries + int(rows[0]["entries"]), rows[0]["read"]
            ids = {"_id": {"$gt": rows[0]["last"]}}
        return entries

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


def _together(day: str, tables: Sequence[SumTable], oldest_ms: int) -> list[Document]:
    return unrolled(day, summed_tables(CELL_FIELDS, *tables), oldest_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
