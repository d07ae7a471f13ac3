"""Sums of many accounts are those of the entries, whatever is posted or folded meanwhile."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.indexes import WORKER_INDEXES
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database, Document, PyMongoError, Session
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.rollup_filter import Grouping, RollupFilter, Sums
from libs.common.storage.mongo.rollup_segments import RollupSegments
from libs.common.storage.mongo.rollups import RollupReader
from libs.common.storage.mongo.segment_documents import ROWS, USERS, WHOLE, fitting, foldable
from tests.service.admin.test_usage_groups import ZONES, load
from tests.support.earlier_ledger import EarlierLedger
from tests.support.sent_commands import collection_of, sent_commands
from tests.unit.builders import account

ALL = RollupFilter(since=date(2026, 1, 1), until=date(2027, 1, 1))
# Within the days of the load, so that zones have edges.
SOME = RollupFilter(since=date(2026, 10, 27), until=date(2026, 11, 9))
ASKED: list[tuple[RollupFilter, tuple[Grouping, ...]]] = [
    (ALL, ()),
    (ALL, ("account",)),
    (ALL, ("client_user",)),
    (ALL, ("day", "model", "provider", "status")),
    (SOME, ("key", "month", "tag:team", "client_user")),
    (msgspec.structs.replace(SOME, zone="Asia/Tokyo"), ("account",)),
    (msgspec.structs.replace(SOME, zone="Asia/Kolkata"), ("key", "day")),
    (msgspec.structs.replace(SOME, zone="America/New_York", status="ok"), ("hour", "account")),
    (msgspec.structs.replace(SOME, zone="Pacific/Auckland", model="acme/m"), ("provider",)),
    (msgspec.structs.replace(SOME, model="m", among=("account", ("a", "c"))), ("requested_model",)),
    (msgspec.structs.replace(ALL, tag=("team", "team:x"), client_user="u1"), ("account", "status")),
]


class Killed(Exception):
    """A worker's end, right before the commit."""


@pytest.fixture(autouse=True)
async def accounts(database: Database) -> None:
    for user_id in ZONES:
        await AccountStore(database).insert(account(user_id))
    await build_indexes(database, WORKER_INDEXES)


async def answers(database: Database) -> list[list[Sums]]:
    reader = RollupReader(database)
    return [await reader.sums(filters, by, limit=9999) for filters, by in ASKED]


async def assert_exact(database: Database, entries: Sequence[LedgerEntry]) -> None:
    """The segments' answers are those of the rollups, and cost what the entries do."""
    segments = RollupSegments(database)
    assert await segments.check()
    found = await answers(database)
    await segments.collection.update_one({"_id": "state"}, {"$set": {"whole": False}})
    expected = await answers(database)
    assert await segments.check()
    assert found == expected
    spent: Counter[str] = Counter()
    for entry in entries:
        spent[entry.user_id] += entry.cost_nusd
    assert {row.group[0]: row.cost_nusd for row in found[1]} == spent
    assert sum(row.calls + row.corrections for row in found[1]) == len(entries)


async def posted_entries(database: Database) -> list[LedgerEntry]:
    rows = await database["entries"].find({}).to_list(None)
    return [msgspec.convert(row, LedgerEntry) for row in rows]


async def post_all(
    database: Database, entries: Sequence[LedgerEntry], chance: random.Random
) -> None:
    """As workers do that are killed, and whose batches are delivered again, in part."""
    kills = chance.random()

    async def killer(_: Sequence[LedgerEntry], __: Mapping[str, Document], ___: Session) -> None:
        if chance.random() < kills / 2:
            raise Killed

    ledger = LedgerStore(database, rollup_tags=("team",), watch=killer)
    batches = [list(entries[start : start + 13]) for start in range(0, len(entries), 13)]
    batches += [chance.sample(entries, 5) for _ in range(5)]
    while batches:
        try:
            await ledger.post(batches[0])
        except (Killed, PyMongoError):
            continue
        del batches[0]


@pytest.mark.parametrize("seed", [3, 4])
async def test_segments_are_the_sums_of_the_entries(database: Database, seed: int) -> None:
    """Of two workers at once, with refunds, late events, and accounts of several zones."""
    entries = load(seed)
    parts = [entries, [*load(seed + 100), *entries]]
    folds = asyncio.create_task(fold_all(database))
    await asyncio.gather(*(post_all(database, part, random.Random(seed)) for part in parts))
    folds.cancel()
    await asyncio.gather(folds, return_exceptions=True)
    entries = await posted_entries(database)
    assert len(entries) == len({entry.entry_id for part in parts for entry in part})
    await assert_exact(database, entries)
    await RollupSegments(database).roll_up(after_ms=0)
    await RollupSegments(database).fold(at=2)
    await assert_exact(database, entries)


async def fold_all(database: Database) -> None:
    """As fast as it can, by two workers that meet."""

    async def fold() -> None:
        while True:
            try:
                await RollupSegments(database).fold(at=2)
                await RollupSegments(database).roll_up(after_ms=0, at_once=7)
            except PyMongoError:
                await asyncio.sleep(0)

    await asyncio.gather(fold(), fold())


class Interrupted:
    """A database in which something is done before each read of segments."""

    def __init__(self, database: Database, first: Callable[[], Awaitable[None]]) -> None:
        self.client = database.client
        self._database = database
        self._first = first

    def __getitem__(self, name: str) -> Any:
        return SimpleNamespace(find_one=self._database[name].find_one, find=self._find)

    def _find(self, *query: Any, session: Session | None) -> Any:
        found = self._database["rollup_segments"].find(*query, session=session)

        async def to_list(length: int) -> list[Document]:
            await self._first()
            return await found.to_list(length)

        return SimpleNamespace(to_list=to_list)


async def test_a_sum_is_of_one_moment(database: Database) -> None:
    """Whatever is posted and folded while it is read."""
    entries, ledger = load(5), LedgerStore(database)
    await ledger.post(entries[:60])
    segments = RollupSegments(database)
    assert await segments.check()
    batches = [entries[start : start + 9] for start in range(60, len(entries), 9)]

    async def post_and_fold() -> None:
        if batches:
            await ledger.post(batches.pop(0))
        await segments.fold(at=2)
        if len(batches) % 2:
            await segments.roll_up(after_ms=0)

    # In a zone, days at the edges are read apart.
    zoned = RollupFilter(since=date(2026, 10, 23), until=date(2026, 11, 15), zone="UTC")
    interrupted = cast("Database", Interrupted(database, post_and_fold))
    for filters in (ALL, zoned):
        before = await posted_entries(database)
        rows = await RollupReader(interrupted).sums(filters, ("account",), limit=9)
        assert sum(row.calls + row.corrections for row in rows) == len(before)
        assert sum(row.cost_nusd for row in rows) == sum(row.cost_nusd for row in before)
        assert len(await posted_entries(database)) > len(before)
    await assert_exact(database, await posted_entries(database))


async def test_entries_of_an_earlier_release_are_not_lost(database: Database) -> None:
    entries, segments = load(6), RollupSegments(database)
    assert await segments.check()
    await EarlierLedger(database).post(entries[:30])
    # Its rollups may be of an earlier layout, too, or have gained cells for a part of their sums.
    await database["rollups"].update_one({}, {"$unset": {"v": "", "cells": ""}})
    await LedgerStore(database).post(entries[30:])
    assert not await segments.check()
    expected = await answers(database)
    assert sum(row.cost_nusd for row in expected[1]) == sum(row.cost_nusd for row in entries)

    assert await segments.fill()
    assert without_statuses(await answers(database)) == without_statuses(expected)
    # Once more changes nothing, and what is posted after that is added.
    assert await segments.fill()
    assert without_statuses(await answers(database)) == without_statuses(expected)
    await LedgerStore(database).post(load(7))
    assert await segments.check()
    rows = await RollupReader(database).sums(ALL, ("account",), limit=9)
    assert sum(row.cost_nusd for row in rows) == sum(
        row.cost_nusd for row in await posted_entries(database)
    )


def without_statuses(answered: list[list[Sums]]) -> list[list[Sums]]:
    """Segments also tell those of rollups without cells, beside sums that are told by cells."""
    return [[msgspec.structs.replace(row, statuses={}) for row in rows] for rows in answered]


async def test_segments_are_made_while_workers_post(database: Database) -> None:
    await EarlierLedger(database).post(load(8)[:60])
    segments = RollupSegments(database)

    async def fill() -> None:
        for _ in range(4):
            assert await segments.fill()

    folds = asyncio.create_task(fold_all(database))
    await asyncio.gather(fill(), *(post_all(database, load(n), random.Random(n)) for n in (9, 10)))
    folds.cancel()
    await asyncio.gather(folds, return_exceptions=True)
    await assert_exact(database, await posted_entries(database))


async def test_sums_of_many_accounts_read_no_rollups(database: Database) -> None:
    await LedgerStore(database, rollup_tags=("team",)).post(load(11))
    await RollupSegments(database).check()
    found = await answers(database)
    assert all(found)
    one = msgspec.structs.replace(ALL, user_id="a")
    reader = RollupReader(database)
    assert await reader.sums(one, (), limit=1)
    await RollupSegments(database).roll_up(after_ms=0)
    assert await answers(database) == found
    await database["rollups"].delete_many({})
    assert await answers(database) == found
    assert await reader.sums(one, (), limit=1) == []


async def test_end_users_are_read_from_a_level_of_their_own(database: Database) -> None:
    """Where all segments have it: a worker of an earlier release folds them without it."""
    await LedgerStore(database).post(load(12))
    segments = RollupSegments(database)
    await segments.roll_up(after_ms=0)
    assert await segments.check()

    async def users_and_levels() -> tuple[list[Sums], set[str]]:
        with sent_commands() as commands:
            rows = await RollupReader(database).sums(ALL, ("client_user",), limit=99)
        reads = [each for each in commands if collection_of(each) == "rollup_segments"]
        tables = [each["filter"] for each in reads if "projection" not in each]
        return rows, {each["level"] for each in tables if "level" in each} - {*WHOLE}

    expected, levels = await users_and_levels()
    assert len(expected) > 1
    assert levels == {USERS}
    level = await segments.collection.find({"level": USERS}).to_list(None)
    orphan = level[0] | {"_id": f"gone|{USERS}"}
    await segments.collection.insert_one(orphan)
    assert await users_and_levels() == (expected, {ROWS})
    await segments.collection.delete_many({"_id": {"$in": [orphan["_id"], level[0]["_id"]]}})
    assert await users_and_levels() == (expected, {ROWS})
    assert await segments.fill()
    assert await users_and_levels() == (expected, {USERS})


async def test_a_day_keeps_few_segments(database: Database) -> None:
    """Each sum is written again a few times, not with each folding."""
    calls = [entry for entry in load(1) if entry.kind == "call" and entry.user_id == "a"]
    call, segments = calls[0], RollupSegments(database)
    for n in range(40):
        id_ = f"{call.entry_id[:-4]}{n:04x}"
        await LedgerStore(database).post([msgspec.structs.replace(call, entry_id=id_)])
        await segments.fold(date.fromisoformat(call.periods[3]))
    query = {"day": call.periods[3], "entries": {"$exists": True}}
    kept = await segments.collection.find(query).to_list(None)
    assert len(kept) <= 8
    assert sum(row["entries"] for row in kept) == 40
    # Nothing is folded of a day long past, but by the chore for all days.
    await segments.fold(date.fromisoformat(call.periods[3]) + timedelta(days=9), at=2)
    assert await segments.collection.find(query).to_list(None) == kept


def test_large_segments_are_not_folded_with_small_ones() -> None:
    small = [(300, f"s{n}") for n in range(9)]
    names = [name for _, name in small]
    assert foldable([(9_000_000, "l"), *small]) == names
    assert foldable([(16_000, "m"), (60_000, "l"), *small]) == [*names, "m", "l"]
    assert foldable([(80_000, "l"), *small]) == names
    assert foldable([(80_000, "l")], 2) == []
    # Nor does one that is small keep large ones of a size apart.
    assert foldable([(300, "s"), (40_000, "l"), (50_000, "m")], 2) == ["l", "m"]
    assert foldable([(300, "s"), (40_000, "l"), (50_000, "m")], 3) == []
    assert len(foldable([(1_500_000, "a"), (1_500_000, "b"), *small])) == len(small)


def test_as_many_segments_as_fit_into_one() -> None:
    assert list(fitting([])) == []
    assert list(fitting([(9_000_000, "l"), (2, "s")])) == [["l"], ["s"]]
    sizes = [(1_000_000, name) for name in "abc"]
    assert list(fitting(sizes)) == [["a", "b"], ["c"]]
    assert [len(group) for group in fitting((9, f"{n}") for n in range(2_500))] == [1000, 1000, 500]


async def test_no_command_counts_more_accounts_than_it_may(database: Database) -> None:
    entries = load(8)
    await LedgerStore(database).post(entries)
    segments = RollupSegments(database)
    number = await database["accounts"].count_documents({})
    for at_once, reads in ((number + 1, 1), (number - 1, 2), (1, number + 1)):
        with sent_commands() as commands:
            assert await segments.check(at_once=at_once)
        assert [collection_of(command) for command in commands].count("accounts") == reads
        state = await segments.collection.find_one({"_id": "state"})
        assert state is not None
        assert state["ledger_entries"] == len(entries)
    await database["accounts"].update_one({"_id": entries[-1].user_id}, {"$inc": {"entries": 1}})
    assert not await segments.check(at_once=1)
