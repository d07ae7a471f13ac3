"""Adds unrolled segments to the rollups: see `rollup_segments`."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import partial
from time import monotonic

import structlog

from libs.common.decode_errors import UNREADABLE
from libs.common.storage.mongo.batched_reads import IDS_PER_READ, find_by_ids
from libs.common.storage.mongo.driver import (
    BulkWriteError,
    Database,
    Document,
    OperationFailure,
    Session,
    in_transaction,
)
from libs.common.storage.mongo.rollup_parts import (
    NothingToAdd,
    RefusedRollup,
    RolledUp,
    RollUp,
    refused_rollup,
)
from libs.common.storage.mongo.segment_documents import (
    UNROLLED,
    fitting,
    ids_of,
    oldest,
    table_of,
)
from libs.common.storage.mongo.sum_tables import SumTable

_RECENT = timedelta(days=3)
# What the rollups lack is at most so old, and together so large, before it is rolled up.
_ROLLED_UP_AFTER_MS, _MOST_UNROLLED_BYTES = 300_000, 250_000
# Rollups that one transaction adds to, and one command of it.
_ROLLED_UP_AT_ONCE, _UPDATES_AT_ONCE = 1_000, 100
# Rollups that MongoDB refuses, each of which costs a transaction: so many of a day in one run.
_MOST_REFUSED = 50

log = structlog.get_logger(__name__)

# Ids of segments by size, of a day; whether the rollups lack them.
Sizes = dict[tuple[str, bool], list[tuple[int, str]]]


class RollUps:
    """`rollups_by`: the fields of the rollups' shard key, where they are sharded."""

    def __init__(self, database: Database, *, rollups_by: Sequence[str] = ()) -> None:
        self._database = database
        self.collection = database["rollup_segments"]
        self._rollups = database["rollups"]
        self._rollups_by = rollups_by
        # By day, when rollups were refused, by their ids; and when the day was rolled up but for
        # these. Until they are tried again, what is old of that day is theirs.
        self._refused: dict[str, dict[str, float]] = {}
        self._done_but_for: dict[str, float] = {}

    async def roll_up(
        self,
        *,
        after_ms: int = _ROLLED_UP_AFTER_MS,
        most_bytes: int = _MOST_UNROLLED_BYTES,
        at_once: int = _ROLLED_UP_AT_ONCE,
    ) -> list[RefusedRollup]:
        """Adds to the rollups what they lack, of days where it is old, and of others until what is
        left is no larger than that. `at_once`: so many rollups in one transaction.

        Each rollup is added to once for all postings since the last time. Returns those that cannot
        be added to: their sums stay unrolled, and they are tried again after that time. One day's
        failure does not hold up the others, and is raised after them.
        """
        before = time.time_ns() // 1_000_000 - after_ms
        self._forget(monotonic() - after_ms / 1000)
        by_day = [
            (sum(size for size, _ in segments), day, segments)
            for (day, _), segments in (await self._sizes(None, (UNROLLED,))).items()
        ]
        together = sum(size for size, _, _ in by_day)
        refused: list[RefusedRollup] = []
        failures: list[Exception] = []
        for size, day, segments in sorted(by_day, reverse=True):
            is_old = oldest(id_ for _, id_ in segments) <= before and day not in self._done_but_for
            if not is_old and together <= most_bytes:
                continue
            together -= size
            try:
                # What an outage of this alone left may be more than a document takes.
                for ids in fitting(segments):
                    refused += await self._roll_up_all(day, ids, at_once)
            except (OperationFailure, *UNREADABLE) as error:
                # Or a segment is damaged.
                failures.append(error)
        if failures:
            raise failures[0]
        return refused

    async def unrolled_since_ms(self) -> int | None:
        """When the oldest posting was that the rollups lack, in Unix milliseconds."""
        query: Document = {"level": UNROLLED, "day": {"$gt": ""}}
        documents = await self.collection.find(query, {"_id": 1}).to_list(None)
        return oldest(each["_id"] for each in documents) if documents else None

    def _forget(self, before: float) -> None:
        """What was refused before that is tried again."""
        self._done_but_for = {day: at for day, at in self._done_but_for.items() if at > before}
        later = {
            day: {id_: at for id_, at in refused.items() if at > before}
            for day, refused in self._refused.items()
        }
        self._refused = {day: refused for day, refused in later.items() if refused}

    async def _roll_up_all(self, day: str, ids: Sequence[str], at_once: int) -> list[RefusedRollup]:
        left = ids
        refused: list[RefusedRollup] = []
        while left:
            work = partial(self._roll_up, day, left, at_once)
            try:
                left = await in_transaction(self._database, work)
            except RefusedRollup as error:
                log.error(
                    "rollup.refused",
                    user_id=error.user_id,
                    day=day,
                    rollup=error.rollup_id,
                    cause=error.cause,
                )
                self._refused.setdefault(day, {})[error.rollup_id] = monotonic()
                refused.append(error)
                if len(refused) >= _MOST_REFUSED:
                    # The next run goes on.
                    return refused
            except NothingToAdd:
                break
        if day in self._refused:
            self._done_but_for[day] = monotonic()
        return refused

    async def _sizes(self, today: date | None, levels: Iterable[str]) -> Sizes:
        days: Document = {"$gt": "" if today is None else str(today - _RECENT)}
        sizes: Sizes = {}
        for level in levels:
            query: Document = {"level": level, "day": days}
            async for table in self.collection.find(query, {"day": 1, "size": 1}):
                key = (table["day"], level == UNROLLED)
                sizes.setdefault(key, []).append((table["size"], table["_id"]))
        return sizes

    async def _roll_up(
        self, day: str, ids: Sequence[str], at_once: int, session: Session
    ) -> list[str]:
        """Some of it. Returns the ids of what may be rolled up of the rest.

        Raises RefusedRollup or NothingToAdd, and then the transaction changes nothing.
        """
        tables = await self._take(ids, session)
        if tables is None:
            return []
        part = RollUp(
            day=day,
            since_ms=oldest(ids),
            at_once=at_once,
            by=self._rollups_by,
            refused=frozenset(self._refused.get(day, ())),
        )
        result = await asyncio.to_thread(part.of, tables)
        await self._write(result, session)
        await self.collection.insert_many([*result.folded, *result.rest], session=session)
        return [each["_id"] for each in result.rest] if result.has_more else []

    async def _write(self, result: RolledUp, session: Session) -> None:
        for start in range(0, len(result.updates), _UPDATES_AT_ONCE):
            part = slice(start, start + _UPDATES_AT_ONCE)
            try:
                await self._rollups.bulk_write(result.updates[part], session=session)
            except BulkWriteError as error:
                raise refused_rollup(error, result.rollups[part]) or error from None

    async def _take(self, ids: Sequence[str], session: Session) -> list[SumTable] | None:
        """Removes the segments, first of all, so that of two who want them one fails at once.
        None where another has taken some.
        """
        documents = await find_by_ids(self.collection, ids, ("table",), session)
        if len(documents) < len(ids):
            return None
        segment_ids = [each for id_ in ids for each in ids_of(id_)]
        for start in range(0, len(segment_ids), IDS_PER_READ):
            chunk = segment_ids[start : start + IDS_PER_READ]
            await self.collection.delete_many({"_id": {"$in": chunk}}, session=session)
        return [table_of(each) for each in documents]
