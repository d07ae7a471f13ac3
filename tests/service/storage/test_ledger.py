"""The ledger's store: what is posted is there exactly once, and every sum agrees."""

import asyncio
import contextlib
import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from libs.common.domain.money import MAX_NUSD
from libs.common.domain.periods import period_keys
from libs.common.schemas.entry import CostLine, LedgerEntry
from libs.common.schemas.spend import KeyPeriod, PeriodSpend
from libs.common.schemas.usage import TokenUsage
from libs.common.storage.indexes import WORKER_INDEXES
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database, PyMongoError
from libs.common.storage.mongo.entry_filter import EntryFilter, EntryPlace
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.ledger import EntriesRefused, LedgerStore, UnknownAccounts
from libs.common.storage.mongo.rollup_segments import RollupSegments
from tests.unit.builders import NOW, account, entry, rates

_PERIODS = period_keys(NOW)


@pytest.fixture
async def ledger(database: Database) -> LedgerStore:
    accounts = AccountStore(database)
    for user_id in ("acme", "other"):
        await accounts.insert(account(user_id))
    store = LedgerStore(database)
    await build_indexes(database, WORKER_INDEXES)
    return store


def entries(count: int, **fields: Any) -> list[LedgerEntry]:
    return [entry(f"call-{n:03}", cost_nusd=n + 1, **fields) for n in range(count)]


async def entry_ids(
    ledger: LedgerStore, user_id: str = "acme", *, limit: int = 500, **fields: Any
) -> list[str]:
    found = await ledger.list(EntryFilter(user_id=user_id, **fields), now=NOW, limit=limit)
    return [row.entry_id for row in found.entries]


async def assert_posted(database: Database, expected: list[LedgerEntry]) -> None:
    """Each of them is there once, and every sum that is kept agrees with them."""
    ledger, accounts = LedgerStore(database), AccountStore(database)
    for user_id in ("acme", "other"):
        own = [row for row in expected if row.user_id == user_id]
        found = (await ledger.list(EntryFilter(user_id=user_id), now=NOW, limit=1_000)).entries
        assert [row.entry_id for row in found] == sorted((r.entry_id for r in own), reverse=True)
        assert sorted(row.seq or 0 for row in found) == list(range(1, len(own) + 1))
        cost = sum(row.cost_nusd for row in own)
        held = await accounts.get(user_id)
        assert held is not None
        assert held.spent_nusd == cost
        spent: Counter[str] = Counter(dict.fromkeys(_PERIODS, 0))
        for row in own:
            spent.update(dict.fromkeys(row.periods, row.cost_nusd))
        assert await ledger.spend_of(user_id, list(spent)) == spent
        await RollupSegments(database).roll_up(after_ms=0)
        rollups = [row async for row in database["rollups"].find({"user_id": user_id})]
        assert sum(row["cost_nusd"] for row in rollups) == cost
        assert sum(row.get("calls", 0) for row in rollups) == sum(r.kind == "call" for r in own)


async def post_again_until_posted(ledger: LedgerStore, batch: list[LedgerEntry]) -> int:
    """As the queue does, where a conflict outlasts what a transaction may cost."""
    for _ in range(20):
        with contextlib.suppress(PyMongoError):
            return await ledger.post(batch)
    raise AssertionError("the batch could not be posted")


async def test_an_entry_comes_back_as_it_was_posted(ledger: LedgerStore) -> None:
    line = CostLine(
        item="output_text",
        quantity=3,
        rate=rates(output="0.000000001").output,
        amount=rates(output="0.000000000000003").output,
    )
    posted = entry(
        usage=TokenUsage(input_text=0, output_text=3, service_tier="flex"),
        cost_nusd=MAX_NUSD,
        lines=(line,),
        client_user="someone",
        latency_ms=0,
    )
    assert await ledger.post([posted]) == 1
    (found,) = (await ledger.list(EntryFilter(user_id="acme"), now=NOW, limit=10)).entries
    assert found.usage is not None
    assert found.usage.cache_read is None
    assert found.seq == 1
    assert found == replace(posted, seq=1)


async def test_posting_nothing_is_nothing(ledger: LedgerStore) -> None:
    assert await ledger.post([]) == 0


async def test_every_sum_agrees_with_the_entries(ledger: LedgerStore, database: Database) -> None:
    tomorrow = NOW + timedelta(days=1)
    batch = [
        *entries(5),
        entry("other-1", user_id="other", cost_nusd=7, status="unpriced"),
        entry("free", cost_nusd=0, status="refused", model=None, provider=None),
        entry("later", cost_nusd=11, started_at=tomorrow, periods=period_keys(tomorrow)),
        entry(
            "adjusted", cost_nusd=-9, kind="adjustment", status="correction", corrects="call-000"
        ),
    ]
    assert await ledger.post(batch) == len(batch)
    await assert_posted(database, batch)
    total = await ledger.spend_of_many(["acme", "other", "nobody"], ["total"])
    assert total == {("acme", "total"): 17, ("other", "total"): 7}
    assert await ledger.spend_of("acme", ["2026-11-24", "2026-11-25", "1999-01"]) == {
        "2026-11-24": 6,
        "2026-11-25": 11,
        "1999-01": 0,
    }


async def test_the_same_batch_twice_is_posted_once(ledger: LedgerStore, database: Database) -> None:
    batch = entries(20)
    assert await ledger.post(batch) == 20
    assert await ledger.post(batch) == 0
    await assert_posted(database, batch)


async def test_duplicates_within_a_batch_are_posted_once(
    ledger: LedgerStore, database: Database
) -> None:
    first, second = entries(2)
    assert await ledger.post([first, second, first, second, first]) == 2
    await assert_posted(database, [first, second])


async def test_a_half_known_batch_posts_the_other_half(
    ledger: LedgerStore, database: Database
) -> None:
    batch = entries(10)
    await ledger.post(batch[3:7])
    assert await ledger.post(batch) == 6
    await assert_posted(database, batch)


async def test_concurrent_overlapping_batches_post_each_entry_once(
    ledger: LedgerStore, database: Database
) -> None:
    chance = random.Random(20261124)
    everything = [
        entry(f"call-{n:03}", user_id=chance.choice(["acme", "other"]), cost_nusd=n + 1)
        for n in range(60)
    ]
    batches = [everything[start : start + 20] for start in range(0, 50, 10)]
    batches += [chance.sample(everything, 15) for _ in range(3)]

    added = await asyncio.gather(*(post_again_until_posted(ledger, batch) for batch in batches))
    assert sum(added) == 60
    await assert_posted(database, everything)


async def test_sums_beyond_32_bits_are_exact(ledger: LedgerStore, database: Database) -> None:
    amounts = [2**31 - 1, 1, 2**32, 2**52, MAX_NUSD, 1]
    batch = [entry(f"call-{n}", cost_nusd=nusd) for n, nusd in enumerate(amounts)]
    for row in batch:
        await ledger.post([row])
    await assert_posted(database, batch)


async def test_entries_of_an_unknown_account_are_refused_with_all_their_batch(
    ledger: LedgerStore, database: Database
) -> None:
    with pytest.raises(UnknownAccounts) as raised:
        await ledger.post([entry("known"), entry("lost", user_id="nobody")])
    assert raised.value.user_ids == {"nobody"}
    await assert_posted(database, [])
    assert await database["accounts"].count_documents({"spend": {"$exists": True}}) == 0


async def test_an_entry_that_mongodb_cannot_hold_is_refused_with_all_its_batch(
    ledger: LedgerStore, database: Database
) -> None:
    with pytest.raises(EntriesRefused) as raised:
        await ledger.post([entry("fine"), entry("huge", cost_nusd=2**70)])
    assert raised.value.at_fault
    await assert_posted(database, [])


async def test_entries_are_paged_newest_first(ledger: LedgerStore) -> None:
    await ledger.post([*entries(7), entry("other-1", user_id="other")])
    ids: list[str] = []
    before: EntryPlace | None = None
    while True:
        page = await ledger.list(EntryFilter(user_id="acme", before=before), now=NOW, limit=3)
        assert len(page.entries) <= 3
        ids += [row.entry_id for row in page.entries]
        before = page.last
        if before is None:
            break
    assert ids == [f"call-{n:03}" for n in reversed(range(7))]


async def test_entries_are_filtered(ledger: LedgerStore) -> None:
    hour = timedelta(hours=1)
    await ledger.post(
        [
            entry("a", started_at=NOW),
            entry("b", started_at=NOW + hour, model="gpt-5"),
            entry("c", started_at=NOW + 2 * hour, key_id="key-2"),
            entry("d", started_at=NOW + 3 * hour, key_id="key-2", model="gpt-5"),
        ]
    )
    assert await entry_ids(ledger, model="gpt-5") == ["d", "b"]
    assert await entry_ids(ledger, key_id="key-2") == ["d", "c"]
    assert await entry_ids(ledger, key_id="key-2", model="gpt-5") == ["d"]
    # The start is included, the end is not.
    assert await entry_ids(ledger, since=NOW + hour, until=NOW + 3 * hour) == ["c", "b"]
    assert await entry_ids(ledger, since=NOW + 4 * hour) == []
    assert await entry_ids(ledger, until=NOW + hour, before=EntryPlace(NOW, "a")) == []
    assert await entry_ids(ledger, "nobody") == []


async def test_each_posting_advances_the_version_of_the_spend(ledger: LedgerStore) -> None:
    async def figure() -> PeriodSpend:
        return (await ledger.spend_with_revisions(["acme"], ["total"]))["acme", "total"]

    await ledger.post([entry("a", cost_nusd=10)])
    first = await figure()
    refund = entry("b", cost_nusd=-4, kind="refund", status="correction", corrects="a")
    await ledger.post([refund])
    second = await figure()
    await ledger.post([refund])
    assert (first.nusd, second.nusd) == (10, 6)
    assert second.revision > first.revision
    assert await figure() == second


async def test_a_keys_spend_is_its_own(ledger: LedgerStore) -> None:
    tomorrow = NOW + timedelta(days=1)
    await ledger.post(
        [
            entry("a", cost_nusd=1),
            entry("b", cost_nusd=2, key_id="key-2"),
            entry(
                "c",
                cost_nusd=4,
                key_id="key-2",
                started_at=tomorrow,
                periods=period_keys(tomorrow),
            ),
        ]
    )
    day, week = ("2026-11-24", "2026-11-24"), ("2026-11-23", "2026-11-29")
    expected = {
        KeyPeriod("acme", "key-2", None): 6,
        KeyPeriod("acme", "key-2", day): 2,
        KeyPeriod("acme", "key-2", week): 6,
        KeyPeriod("acme", "key-1", day): 1,
        KeyPeriod("acme", "key-1", ("2026-11-25", "2026-11-25")): 0,
        KeyPeriod("other", "key-2", None): 0,
    }
    found = await ledger.spend_of_keys(expected)
    assert {key_period: amount.nusd for key_period, amount in found.items()} == expected
    for key_period, amount in found.items():
        assert await ledger.spend_of_keys([key_period]) == {key_period: amount}
