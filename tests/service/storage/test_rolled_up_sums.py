"""What one account and its keys spent is exact at any moment, wherever its sums are just then."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from libs.common.domain.periods import period_keys
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.spend import KeyPeriod, PeriodSpend
from libs.common.schemas.usage import TokenUsage
from libs.common.storage.indexes import WORKER_INDEXES
from libs.common.storage.mongo import rollups
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database, PyMongoError, in_transaction
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.ledger import EntriesRefused, LedgerStore
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.mongo.proofs import ProofStore
from libs.common.storage.mongo.rollup_filter import RollupFilter
from libs.common.storage.mongo.rollup_rows import CELL_FIELDS, encode_tags
from libs.common.storage.mongo.rollup_segments import RollupSegments
from libs.common.storage.mongo.rollups import RollupReader
from libs.common.storage.mongo.sum_tables import Tally
from tests.support.earlier_ledger import EarlierLedger
from tests.unit.builders import NOW, account, entry

DAY = period_keys(NOW)[3]
COST = 1_000
KEYS = [f"key-{n}" for n in range(5)]
ALL = RollupFilter(since=date(2026, 1, 1), until=date(2027, 1, 1), user_id="acme")
EVER = [KeyPeriod("acme", key, None) for key in KEYS]
TODAY = [KeyPeriod("acme", key, (DAY, DAY)) for key in KEYS]


@pytest.fixture(autouse=True)
async def accounts(database: Database) -> None:
    await AccountStore(database).insert(account("acme"))
    await AccountStore(database).insert(account("globex"))
    await build_indexes(database, WORKER_INDEXES)


def calls(start: int, count: int, user_id: str = "acme") -> list[LedgerEntry]:
    """Of each key as many."""
    return [
        entry(
            f"{user_id}-{n:05}",
            user_id=user_id,
            key_id=KEYS[n % len(KEYS)],
            cost_nusd=COST,
            started_at=NOW,
            periods=period_keys(NOW),
        )
        for n in range(start, start + count)
    ]


async def call_count(database: Database, user_id: str = "acme") -> int:
    """Entries, by each way to read them, which all tell the same."""
    filters = msgspec.structs.replace(ALL, user_id=user_id)
    (total,) = await RollupReader(database).sums(filters, (), limit=1)
    by_key = await RollupReader(database).sums(filters, ("key", "day", "status"), limit=9)
    assert sum(row.calls for row in by_key) == total.calls
    assert sum(row.cost_nusd for row in by_key) == total.cost_nusd == COST * total.calls
    for key_periods in (EVER, TODAY):
        spent = await LedgerReader(database).spend_of_keys(
            [msgspec.structs.replace(each, user_id=user_id) for each in key_periods]
        )
        assert sum(each.nusd for each in spent.values()) == total.cost_nusd
    _, kept = await ProofStore(database).tail(user_id, 0, None)
    assert kept.rollups == {DAY: total.cost_nusd}
    _, kept = await ProofStore(database).tail(user_id, 0, [DAY, "2026-01-01"])
    assert kept.rollups == {DAY: total.cost_nusd, "2026-01-01": 0}
    return total.calls


async def test_sums_are_exact_before_and_after_they_are_rolled_up(database: Database) -> None:
    ledger, segments = LedgerStore(database), RollupSegments(database)
    for start in range(0, 60, 10):
        await ledger.post([*calls(start, 10), *calls(start, 5, "globex")])
        assert (await call_count(database), await call_count(database, "globex")) == (
            start + 10,
            start // 2 + 5,
        )
        if start == 20:
            await segments.roll_up(after_ms=0)
        if start == 40:
            await segments.fold(at=2)
        assert await call_count(database) == start + 10
    assert await database["rollups"].count_documents({}) == 2 * len(KEYS)
    assert await segments.check()


async def test_a_revision_grows_with_postings_and_with_nothing_else(database: Database) -> None:
    """So that of two figures in Redis the newer one wins, whoever wrote it."""
    ledger, segments, reader = (
        LedgerStore(database),
        RollupSegments(database),
        LedgerReader(database),
    )
    before = PeriodSpend()
    postings: list[Callable[[list[LedgerEntry]], Awaitable[Any]]] = [
        ledger.post,
        ledger.post,
        EarlierLedger(database, segments=True).post,
        ledger.post,
    ]
    for n, post in enumerate(postings):
        await post(calls(n * 10, 10))
        now = (await reader.spend_of_keys(TODAY))[TODAY[0]]
        assert now.nusd == before.nusd + 2 * COST
        assert now.revision > before.revision
        await segments.fold(at=1)
        assert (await reader.spend_of_keys(TODAY))[TODAY[0]] == now
        if n:
            await segments.roll_up(after_ms=0)
        assert (await reader.spend_of_keys(TODAY + EVER))[EVER[0]] == now
        before = now


class Interrupted:
    """A database in which something is done before each command to these collections."""

    def __init__(self, database: Database, first: Callable[[], Awaitable[None]]) -> None:
        self.client = database.client
        self._database = database
        self._first = first

    def __getitem__(self, name: str) -> Any:
        collection = self._database[name]
        if name not in ("rollups", "rollup_segments"):
            return collection
        return SimpleNamespace(
            find=lambda *query, **more: self._later(collection.find(*query, **more)),
            aggregate=lambda *query, **more: self._later(collection.aggregate(*query, **more)),
            find_one=collection.find_one,
        )

    def _later(self, cursor: Any) -> Any:
        async def to_list(length: int | None) -> Any:
            await self._first()
            return await cursor.to_list(length)

        return SimpleNamespace(to_list=to_list)


async def test_a_read_sees_each_entry_once_while_others_post_and_roll_up(
    database: Database,
) -> None:
    ledger, segments = LedgerStore(database), RollupSegments(database)
    await ledger.post(calls(0, 20))
    posted = 20

    async def first() -> None:
        nonlocal posted
        await ledger.post(calls(posted, 5))
        posted += 5
        await segments.roll_up(after_ms=0, at_once=1 + posted % 3)
        await ledger.post(calls(posted, 5))
        posted += 5

    interrupted = cast("Database", Interrupted(database, first))

    async def assert_one_moment(read: Awaitable[int], before: int) -> None:
        """What was posted before its first command, and maybe before the others, but not half."""
        nusd = await read
        assert nusd % (5 * COST) == 0
        assert before * COST <= nusd <= posted * COST
        assert posted > before

    async def account_nusd() -> int:
        (row,) = await RollupReader(interrupted).sums(ALL, (), limit=1)
        assert row.cost_nusd == row.calls * COST
        return row.cost_nusd

    async def keys_nusd(key_periods: Sequence[KeyPeriod]) -> int:
        spent = await LedgerReader(interrupted).spend_of_keys(key_periods)
        # A posting has a call of each key.
        assert len({each.nusd for each in spent.values()}) == 1
        return sum(each.nusd for each in spent.values())

    async def proof_nusd() -> int:
        added, kept = await ProofStore(interrupted).tail("acme", 0, None)
        assert kept.rollups[DAY] == added.nusd == kept.nusd
        return added.nusd

    for read in (account_nusd(), keys_nusd(EVER), keys_nusd(EVER[:1] + TODAY[1:]), proof_nusd()):
        await assert_one_moment(read, posted)
    assert await call_count(database) == posted


async def test_readers_beside_workers_that_roll_up(database: Database) -> None:
    """Nothing is posted, so that every read has to tell the same."""
    await LedgerStore(database).post(calls(0, 50))
    await LedgerStore(database).post([*calls(50, 50), *calls(0, 10, "globex")])
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            assert await call_count(database) == 100

    async def roll_up() -> None:
        # Of two that meet, one finds nothing left or tries again.
        while await database["rollup_segments"].find_one({"level": "unrolled"}):
            try:
                await RollupSegments(database).roll_up(after_ms=0, at_once=1)
            except PyMongoError:
                await asyncio.sleep(0)

    readers = [asyncio.create_task(read()) for _ in range(2)]
    await asyncio.gather(roll_up(), roll_up())
    done.set()
    await asyncio.gather(*readers)
    assert await call_count(database) == 100
    rows = await database["rollups"].find({"user_id": "acme"}).to_list(None)
    assert {(row["calls"], row["revision"]) for row in rows} == {(20, 20)}


class Killed(Exception):
    pass


class Failing:
    """A database whose collection of segments cannot be inserted to."""

    def __init__(self, database: Database) -> None:
        self.client = database.client
        self._database = database

    def __getitem__(self, name: str) -> Any:
        collection = self._database[name]
        if name != "rollup_segments":
            return collection

        async def insert_many(*_: Any, **__: Any) -> None:
            raise Killed

        return SimpleNamespace(
            find=collection.find, delete_many=collection.delete_many, insert_many=insert_many
        )


async def test_a_roll_up_that_is_killed_changes_nothing(database: Database) -> None:
    ledger, segments = LedgerStore(database), RollupSegments(database)
    await ledger.post(calls(0, 10))
    await segments.roll_up(after_ms=0)
    await ledger.post(calls(10, 10))
    killed = RollupSegments(cast("Database", Failing(database)))
    for work in (killed.roll_up(after_ms=0, at_once=2), killed.fold(at=1)):
        with pytest.raises(Killed):
            await work
        assert await call_count(database) == 20
    assert await segments.check()
    await segments.roll_up(after_ms=0, at_once=2)
    # Once more finds nothing.
    await segments.roll_up(after_ms=0)
    assert await call_count(database) == 20
    assert await segments.check()


async def test_workers_of_an_earlier_release_beside(database: Database) -> None:
    """Their segments are in the rollups already, and are not added again."""
    ledger, segments = LedgerStore(database), RollupSegments(database)
    earlier = EarlierLedger(database, segments=True)
    for start in range(0, 60, 20):
        await ledger.post(calls(start, 10))
        await earlier.post(calls(start + 10, 10))
        assert await call_count(database) == start + 20
        await segments.fold(at=2)
        assert await call_count(database) == start + 20
    await segments.roll_up(after_ms=0)
    await segments.fold(at=1)
    assert await call_count(database) == 60
    rows = await database["rollups"].find({}).to_list(None)
    assert sum(row["calls"] for row in rows) == 60
    assert await segments.check()


async def test_small_recent_days_are_rolled_up_later(database: Database) -> None:
    ledger, segments = LedgerStore(database), RollupSegments(database)
    await ledger.post(calls(0, 10))
    await segments.roll_up()
    assert await database["rollups"].find_one({}) is None
    # A day that is large is rolled up, the smaller one is left.
    before = NOW - timedelta(days=3)
    await ledger.post(
        [
            msgspec.structs.replace(
                each, entry_id=f"b{each.entry_id}", started_at=before, periods=period_keys(before)
            )
            for each in calls(0, 2)
        ]
    )
    unrolled = await database["rollup_segments"].find({"level": "unrolled"}).to_list(None)
    await segments.roll_up(most_bytes=min(each["size"] for each in unrolled))
    assert await database["rollups"].distinct("day") == [DAY]
    await segments.roll_up(after_ms=0)
    assert {*await database["rollups"].distinct("day")} == {period_keys(before)[3], DAY}


async def test_more_than_one_document_takes_is_rolled_up(database: Database) -> None:
    """As after an outage of the roll-up alone, during which postings went on."""
    segments = RollupSegments(database)
    for n in range(21):
        # As large as that of thousands of rows; together more than MongoDB's 16 MiB.
        tags = encode_tags({"team": f"{n}{'x' * 800_000}"}).decode()
        cell = dict.fromkeys(CELL_FIELDS, "") | {"user_id": "acme", "key_id": KEYS[0], "tags": tags}
        tally = Tally(CELL_FIELDS)
        tally.add_row(
            tuple((cell | {"hour": f"{DAY}T{n:02}:00", "status": "ok"}).values()),
            {"cost_nusd": COST, "calls": 1},
        )
        await in_transaction(database, partial(segments.add, {DAY: tally}))
    await segments.roll_up(after_ms=0)
    assert await database["rollup_segments"].find_one({"level": "unrolled"}) is None
    assert await call_count(database) == 21


async def test_more_tokens_than_add_up_are_refused(database: Database) -> None:
    (call,) = calls(0, 1)
    usage = TokenUsage(input_text=1 << 50)
    with pytest.raises(EntriesRefused) as refused:
        await LedgerStore(database).post([msgspec.structs.replace(call, usage=usage)])
    assert refused.value.at_fault
    assert await database["entries"].find_one({}) is None


@pytest.mark.parametrize("brief", [False, True])
async def test_the_dearest_are_those_of_both_places(
    database: Database, brief: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is unrolled, as a refund, may put any group before or behind the others."""
    if brief:
        monkeypatch.setattr(rollups, "_NAMED_AT_ONCE", 2)
    ledger, segments = LedgerStore(database), RollupSegments(database)

    async def post(first: int, costs: Sequence[int]) -> None:
        await ledger.post(
            [
                msgspec.structs.replace(call, cost_nusd=nusd)
                for call, nusd in zip(calls(first, len(costs)), costs, strict=True)
            ]
        )

    await post(0, [5_000, 4_000, 3_000, 2_000, 1_000])
    await segments.roll_up(after_ms=0)
    await post(5, [-4_500, 0, 2_000])
    ranked = [(KEYS[2], 5_000), (KEYS[1], 4_000), (KEYS[3], 2_000), (KEYS[4], 1_000)]
    for limit in range(1, 6):
        rows = await RollupReader(database).sums(ALL, ("key",), limit=limit, brief=brief)
        found = [(row.group[0], row.cost_nusd) for row in rows]
        assert found == [*ranked, (KEYS[0], 500)][:limit]
    groups = [(KEYS[0],), (KEYS[3],), ("nobody",)]
    ranking = await RollupReader(database).ranked(ALL, ("key",), limit=1, groups=groups)
    assert [row.group[0] for row in ranking.rows] == [KEYS[3]]
    assert ranking.total.cost_nusd == 12_500
    await segments.roll_up(after_ms=0)
    await post(9, [9_000])
    (row,) = await RollupReader(database).sums(ALL, ("key",), limit=1, brief=brief)
    assert (row.group[0], row.cost_nusd, row.calls) == (KEYS[4], 10_000, 2)
