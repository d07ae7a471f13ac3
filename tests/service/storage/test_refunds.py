"""Refunds of one call are never more than it costs, however many are posted at once."""

import asyncio
import contextlib

import pytest

from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.indexes import WORKER_INDEXES
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database, PyMongoError
from libs.common.storage.mongo.entries import EntryStore
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.ledger import EntriesRefused, LedgerStore
from tests.unit.builders import account, entry


@pytest.fixture
async def ledger(database: Database) -> LedgerStore:
    await AccountStore(database).insert(account("acme"))
    store = LedgerStore(database)
    await build_indexes(database, WORKER_INDEXES)
    await store.post([entry("call", cost_nusd=10), entry("other", cost_nusd=100)])
    return store


def refund(entry_id: str, nusd: int, of: str = "call") -> LedgerEntry:
    return entry(entry_id, cost_nusd=-nusd, kind="refund", status="correction", corrects=of)


async def posted(ledger: LedgerStore, *entries: LedgerEntry) -> bool:
    """Tried again where a conflict outlasts what a transaction may take, as the queue does."""
    for _ in range(20):
        try:
            with contextlib.suppress(PyMongoError):
                await ledger.post(entries)
                return True
        except EntriesRefused as error:
            return not error.at_fault
    raise AssertionError("neither posted nor refused")


async def total(ledger: LedgerStore) -> int:
    return (await ledger.spend_of("acme", ["total"]))["total"]


async def test_a_refund_of_more_than_is_left_is_refused(ledger: LedgerStore) -> None:
    assert await posted(ledger, refund("first", 7))
    assert not await posted(ledger, refund("second", 4))
    assert await posted(ledger, refund("third", 3))
    assert not await posted(ledger, refund("fourth", 1))
    assert await total(ledger) == 100


async def test_refunds_in_one_batch_count_together(ledger: LedgerStore) -> None:
    assert not await posted(ledger, refund("first", 6), refund("second", 6))
    assert await total(ledger) == 110
    assert await posted(ledger, refund("first", 6), refund("second", 60, of="other"))
    assert await total(ledger) == 44


async def test_other_corrections_count_too(ledger: LedgerStore) -> None:
    """A price that was corrected upwards leaves more to refund."""
    dearer = entry("dearer", cost_nusd=5, kind="reprice", status="correction", corrects="call")
    await ledger.post([dearer])
    assert await posted(ledger, refund("all", 15))
    assert not await posted(ledger, refund("more", 1))


async def test_concurrent_refunds_share_the_calls_cost(
    ledger: LedgerStore, database: Database
) -> None:
    refunds = [refund(f"refund-{n}", 3) for n in range(8)]
    results = await asyncio.gather(*(posted(ledger, row) for row in refunds))
    assert results.count(True) == 3
    entries = EntryStore(database)
    corrections = await entries.corrections_of(await entries.get_many(["call"]))
    assert sum(row.cost_nusd for row in corrections) == -9
    assert await total(ledger) == 101


async def test_a_redelivered_refund_is_not_refused(ledger: LedgerStore) -> None:
    row = refund("all", 10)
    assert await ledger.post([row]) == 1
    assert await ledger.post([row]) == 0
    assert await total(ledger) == 100


async def test_a_batch_redelivered_after_its_account_is_gone_stays_posted(
    ledger: LedgerStore, database: Database
) -> None:
    """Nobody deletes accounts, but if somebody does: what is in the ledger is not a dead letter."""
    await database["accounts"].delete_one({"_id": "acme"})
    assert await ledger.post([entry("call", cost_nusd=10), entry("other", cost_nusd=100)]) == 0
