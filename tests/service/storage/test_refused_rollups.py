"""Rollups that another program changed, so that MongoDB cannot add to them, hold up no others."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from libs.common.domain.periods import period_keys
from libs.common.storage.indexes import WORKER_INDEXES
from libs.common.storage.mongo import roll_ups, rollup_segments
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database, Document
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.rollup_segments import RollupSegments
from libs.common.storage.mongo.segment_documents import UNROLLED
from tests.service.storage.test_rolled_up_sums import COST, DAY, KEYS, calls
from tests.unit.builders import NOW, account

LATER_MS = 3_600_000
ACCOUNTS = ("acme", "globex")
# Of two accounts a call of each key.
FIRST, SECOND = (
    [call for user_id in ACCOUNTS for call in calls(start, len(KEYS), user_id)] for start in (0, 5)
)


@pytest.fixture(autouse=True)
async def accounts(database: Database) -> None:
    for user_id in ACCOUNTS:
        await AccountStore(database).insert(account(user_id))
    await build_indexes(database, WORKER_INDEXES)


async def calls_of(database: Database) -> dict[tuple[str, str], int]:
    """Those that rollups have, by account and key."""
    found = await database["rollups"].find({}).to_list(None)
    return {(each["user_id"], each["key_id"]): each["calls"] for each in found}


async def lacking(database: Database) -> int:
    """How many calls no rollup has."""
    found = await database["rollup_segments"].find({"level": UNROLLED}).to_list(None)
    return sum(each["entries"] for each in found)


async def tamper(database: Database, key_id: str, change: Mapping[str, Any]) -> Document:
    """Returns what acme's rollup of that key was."""
    before = await database["rollups"].find_one_and_update(
        {"user_id": "acme", "key_id": key_id}, {"$set": change}
    )
    assert before is not None
    return dict(before)


@pytest.mark.parametrize(
    "change", [{"cost_nusd": "much"}, {"cells": "none"}, {"revision": None}, {"calls": [1]}]
)
@pytest.mark.parametrize("at_once", [1, 4, 1000])
async def test_all_but_what_was_changed_is_rolled_up(
    database: Database, change: Mapping[str, Any], at_once: int
) -> None:
    ledger, segments = LedgerStore(database), RollupSegments(database)
    await ledger.post(FIRST)
    assert await segments.roll_up(after_ms=0) == []
    before = await tamper(database, KEYS[1], change)
    await ledger.post(SECOND)
    with capture_logs() as logs:
        refused = await segments.roll_up(after_ms=0, at_once=at_once)
    (found,) = refused
    (event,) = [each for each in logs if each["event"] == "rollup.refused"]
    assert (event["user_id"], event["day"], event["rollup"]) == ("acme", DAY, before["_id"])
    assert (found.rollup_id, event["cause"]) == (before["_id"], found.cause)
    assert found.cause

    assert await lacking(database) == 1
    assert await segments.check()
    counts = await calls_of(database)
    del counts["acme", KEYS[1]]
    assert {*counts.values()} == {2}

    # Again and again, beside what is posted meanwhile, and by another worker.
    third = [msgspec.structs.replace(each, entry_id=f"b{each.entry_id}") for each in FIRST]
    await ledger.post(third)
    for worker in (segments, RollupSegments(database), segments):
        assert [each.rollup_id for each in await worker.roll_up(after_ms=0)] == [before["_id"]]
        await worker.fold(at=2)
        assert await lacking(database) == 2
    # Once somebody has mended it, nothing is lost, and nothing counted twice.
    await database["rollups"].replace_one({"_id": before["_id"]}, before)
    assert await segments.roll_up(after_ms=0) == []
    assert await lacking(database) == 0
    assert {*(await calls_of(database)).values()} == {3}
    nusd = [each["cost_nusd"] for each in await database["rollups"].find({}).to_list(None)]
    assert {*nusd} == {3 * COST}


async def test_a_refused_rollup_is_not_retried_with_each_run(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does what is old of it have the rest of its day rolled up with each."""
    ledger, segments = LedgerStore(database), RollupSegments(database)
    await ledger.post(FIRST)
    await segments.roll_up(after_ms=0)
    await tamper(database, KEYS[1], {"cost_nusd": "much"})
    long_ago = int(time.time() * 1000) - 2 * LATER_MS
    monkeypatch.setattr(rollup_segments, "_now_ms", lambda: long_ago)
    await ledger.post(SECOND)
    assert len(await segments.roll_up(after_ms=LATER_MS)) == 1
    assert await lacking(database) == 1
    third = [msgspec.structs.replace(each, entry_id=f"b{each.entry_id}") for each in FIRST]
    await ledger.post(third)
    for most_bytes, left in ((1_000_000, 11), (0, 2), (0, 2)):
        assert await segments.roll_up(after_ms=LATER_MS, most_bytes=most_bytes) == []
        assert await lacking(database) == left
    # A worker that knows nothing of it finds out, and so does this one after that time.
    await ledger.post(
        [msgspec.structs.replace(each, entry_id=f"c{each.entry_id}") for each in FIRST]
    )
    assert len(await RollupSegments(database).roll_up(after_ms=LATER_MS)) == 1
    assert len(await segments.roll_up(after_ms=0)) == 1
    assert await lacking(database) == 3


async def test_many_that_are_refused_take_several_runs(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roll_ups, "_MOST_REFUSED", 2)
    ledger, segments = LedgerStore(database), RollupSegments(database)
    await ledger.post(FIRST)
    await segments.roll_up(after_ms=0)
    for key_id in KEYS[:3]:
        await tamper(database, key_id, {"cost_nusd": "much"})
    await ledger.post(SECOND)
    runs = [len(await segments.roll_up(most_bytes=0, after_ms=LATER_MS)) for _ in range(3)]
    assert runs == [2, 1, 0]
    assert await lacking(database) == 3


async def test_a_damaged_segment_holds_up_no_other_day(database: Database) -> None:
    ledger, segments = LedgerStore(database), RollupSegments(database)
    before = NOW - timedelta(days=3)
    await ledger.post(FIRST)
    await ledger.post(
        [
            msgspec.structs.replace(
                each, entry_id=f"b{each.entry_id}", started_at=before, periods=period_keys(before)
            )
            for each in FIRST[:1]
        ]
    )
    day_query = {"day": DAY, "level": UNROLLED}
    await database["rollup_segments"].update_one(day_query, {"$set": {"table": b"damaged"}})
    with pytest.raises(msgspec.MsgspecError):
        await segments.roll_up(after_ms=0)
    assert await database["rollups"].distinct("day") == [period_keys(before)[3]]
    assert await database["rollup_segments"].count_documents(day_query) == 1


async def test_the_age_of_the_oldest_that_is_lacking(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, segments = LedgerStore(database), RollupSegments(database)
    assert await segments.unrolled_since_ms() is None
    for n, at_ms in enumerate((2_000_000_000_000, 1_900_000_000_000, 1_950_000_000_000)):
        monkeypatch.setattr(rollup_segments, "_now_ms", lambda ms=at_ms: ms)
        await ledger.post(calls(n, 1))
    assert await segments.unrolled_since_ms() == 1_900_000_000_000
    await segments.fold(at=2)
    assert await segments.unrolled_since_ms() == 1_900_000_000_000
    await segments.roll_up(most_bytes=0)
    assert await segments.unrolled_since_ms() is None
