"""How many values that clients choose have sums of their own."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from libs.common.storage.indexes import WORKER_INDEXES
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database, in_transaction
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.ledger import EntriesRefused, LedgerStore
from libs.common.storage.mongo.rollup_rows import OTHER
from libs.common.storage.mongo.rollup_segments import RollupSegments
from libs.common.storage.mongo.rollup_values import MAX_VALUES, RollupValues
from tests.unit.builders import account, entry

DAY, NEXT_DAY = ("acme", "2026-11-24"), ("acme", "2026-11-25")
USER = "client_user"


@pytest.fixture(autouse=True)
async def accounts(database: Database) -> None:
    await AccountStore(database).insert(account("acme"))
    await build_indexes(database, WORKER_INDEXES)


async def admit(
    database: Database, values: RollupValues, candidates: Sequence[str], day: tuple[str, str] = DAY
) -> list[str]:
    is_own = await in_transaction(
        database, lambda session: values.admit({day: {USER: set(candidates)}}, session)
    )
    return [value for value in candidates if is_own(day, USER, value)]


async def test_the_first_values_of_a_day_keep_their_sums(database: Database) -> None:
    values = RollupValues(database, max_values=3)
    assert await admit(database, values, ["b", "$where"]) == ["b", "$where"]
    # Of the new ones there is room for one.
    assert await admit(database, values, ["b", "d", "c"]) == ["b", "c"]
    assert await admit(database, values, ["d"]) == []
    assert await admit(database, values, ["d"], NEXT_DAY) == ["d"]
    # Another worker, and this one after its memory of a full day.
    others = RollupValues(database, max_values=3)
    for each in (others, values):
        assert await admit(database, each, ["a", "b", "c", "$where"]) == ["b", "c", "$where"]


async def test_a_worker_sees_values_admitted_by_another_worker(database: Database) -> None:
    one, two = RollupValues(database, max_values=3), RollupValues(database, max_values=3)
    assert await admit(database, one, ["a"]) == ["a"]
    assert await admit(database, one, ["a"]) == ["a"]
    assert await admit(database, two, ["b", "c"]) == ["b", "c"]
    assert await admit(database, one, ["d", "c"]) == ["c"]


async def test_a_posting_that_is_rolled_back_admits_nothing(database: Database) -> None:
    ledger = LedgerStore(database)
    refund = entry("r", kind="refund", corrects="none", cost_nusd=-1, client_user="lost")
    with pytest.raises(EntriesRefused):
        await ledger.post([refund])
    await ledger.post([entry("c", client_user="kept")])
    row = await database["rollup_values"].find_one()
    assert row is not None
    assert row["values"] == {USER: ["kept"]}


async def test_workers_that_post_at_once_keep_to_the_bound(database: Database) -> None:
    """Every call is in some row, and each value in one of its own or in the shared one."""
    workers = [LedgerStore(database, rollup_tags=("team",)) for _ in range(2)]

    async def post(worker: LedgerStore, starts: Sequence[int]) -> None:
        for start in starts:
            batch = [
                entry(f"{start}-{n}", client_user=f"user-{start}-{n}", tags=(f"team:{start % 7}",))
                for n in range(2)
            ]
            await worker.post(batch)

    await asyncio.gather(post(workers[0], range(55)), post(workers[1], range(54, -1, -1)))
    await RollupSegments(database).roll_up(after_ms=0)
    rows = [row async for row in database["rollups"].find({"user_id": "acme"})]
    calls = Counter[str]()
    for row in rows:
        calls[row[USER]] += row["calls"]
    assert sum(calls.values()) == 110
    assert len(calls) == MAX_VALUES + 1
    assert all(number == 1 for user, number in calls.items() if user != OTHER)
    assert sum(row["cost_nusd"] for row in rows) == 110 * 1_000
    assert {row["tags"]["team"] for row in rows} == {f"team:{n}" for n in range(7)}
