"""A ledger as releases wrote it that kept a document for each account and period."""

import time
from collections import Counter
from collections.abc import Sequence

from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.driver import Database, Session, UpdateOne, in_transaction
from libs.common.storage.mongo.postings import numbered_documents
from libs.common.storage.mongo.rollup_rows import day_sums
from libs.common.storage.mongo.rollup_updates import rollup_updates, rollups_of
from libs.common.storage.mongo.segment_documents import DELTA, unrolled


class EarlierLedger:
    """Posts new entries of known accounts, as a worker did that runs until the upgrade is done.

    `segments`: as releases did that wrote segments beside the rollups.
    """

    def __init__(self, database: Database, *, segments: bool = False) -> None:
        self._database = database
        self._segments = segments

    async def post(self, entries: Sequence[LedgerEntry]) -> None:
        async def work(session: Session) -> None:
            await self._add(entries, session)

        await in_transaction(self._database, work)

    async def _add(self, entries: Sequence[LedgerEntry], session: Session) -> None:
        accounts = self._database["accounts"]
        counts: Counter[str] = Counter()
        for user_id in sorted({entry.user_id for entry in entries}):
            own = [entry for entry in entries if entry.user_id == user_id]
            nusd = sum(entry.cost_nusd for entry in own)
            update = {"$inc": {"spent_nusd": nusd, "entries": len(own)}}
            await accounts.update_one({"_id": user_id}, update, session=session)
            account = await accounts.find_one({"_id": user_id}, session=session)
            assert account is not None
            counts[user_id] = int(account["entries"]) - len(own)
        documents = numbered_documents(entries, counts)
        await self._database["entries"].insert_many(documents, session=session)
        await self._database["spend"].bulk_write(_spend_updates(entries), session=session)
        for day, tally in day_sums(entries, (), lambda *_: True).items():
            table = tally.table()
            updates = rollup_updates(table, rollups_of(table, day))
            await self._database["rollups"].bulk_write(updates, session=session)
            if self._segments:
                (segment,) = unrolled(day, table, time.time_ns() // 1_000_000)
                document = segment | {"_id": f"{segment['_id'].split('|')[-2]}|{DELTA}"}
                await self._database["rollup_segments"].insert_one(
                    document | {"level": DELTA}, session=session
                )


def _spend_updates(entries: Sequence[LedgerEntry]) -> list[UpdateOne]:
    spent: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        for period in entry.periods:
            spent[entry.user_id, period] += entry.cost_nusd
    return [
        UpdateOne(
            {"_id": f"{user_id}|{period}"},
            {
                "$inc": {"spent_nusd": nusd, "revision": 1},
                "$setOnInsert": {"user_id": user_id, "period": period},
            },
            upsert=True,
        )
        for (user_id, period), nusd in sorted(spent.items())
    ]
