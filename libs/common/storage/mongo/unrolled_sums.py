"""Sums of segments that are not rolled up yet, by account and key.

Who reads a rollup adds this, in one snapshot.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence

import msgspec

from libs.common.storage.mongo.batched_reads import find_by_ids
from libs.common.storage.mongo.driver import Database, Session
from libs.common.storage.mongo.segment_documents import UNROLLED, table_of
from libs.common.storage.mongo.sum_tables import SumTable
from libs.common.storage.mongo.table_rows import rows_with


class KeyDay(msgspec.Struct, frozen=True):
    """What a key of an account spent on a day, or on all of them where `day` is empty.

    `revision` grows with each posting to it, and stays the same when it is rolled up.
    """

    user_id: str
    key_id: str
    day: str
    nusd: int
    revision: int


class UnrolledSums:
    """Reads each segment once: none ever changes, and no id is used again."""

    def __init__(self, database: Database) -> None:
        self._segments = database["rollup_segments"]
        # Those that the last read found: by id the day, and the table.
        self._last_tables: dict[str, tuple[str, SumTable]] = {}

    async def of(self, user_ids: Collection[str], session: Session) -> list[KeyDay]:
        """Several for one key and day where several segments have it."""
        tables = (await self._tables(session)).values()
        if not tables:
            return []
        # A few milliseconds where a large ledger is busy.
        return await asyncio.to_thread(_rows, list(tables), {*user_ids})

    async def _tables(self, session: Session) -> dict[str, tuple[str, SumTable]]:
        cursor = self._segments.find({"level": UNROLLED}, {"_id": 1}, session=session)
        ids = [each["_id"] for each in await cursor.to_list(None)]
        tables = {id_: self._last_tables[id_] for id_ in ids if id_ in self._last_tables}
        missing_ids = [id_ for id_ in ids if id_ not in tables]
        for each in await find_by_ids(self._segments, missing_ids, ("day", "table"), session):
            tables[each["_id"]] = each["day"], table_of(each)
        self._last_tables = tables
        return tables


def _rows(tables: Sequence[tuple[str, SumTable]], user_ids: set[str]) -> list[KeyDay]:
    return [row for day, table in tables for row in _rows_of(day, table, user_ids)]


def _rows_of(day: str, table: SumTable, user_ids: set[str]) -> Iterator[KeyDay]:
    users = table.field("user_id")
    rows = rows_with(users, user_ids, None)
    if not rows:
        return
    keys, costs = table.field("key_id"), table.sum("cost_nusd")
    calls, corrections = table.sum("calls"), table.sum("corrections")
    for row in rows:
        yield KeyDay(
            users.values[users.numbers[row]],
            keys.values[keys.numbers[row]],
            day,
            costs[row],
            calls[row] + corrections[row],
        )
