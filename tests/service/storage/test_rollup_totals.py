"""The totals of all accounts are the sums of the rollups, whatever is posted and by whom."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.indexes import WORKER_INDEXES
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.dearest_accounts import dearest_accounts
from libs.common.storage.mongo.driver import Database, Document, PyMongoError, Session
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.rollup_totals import RollupTotals
from libs.common.storage.mongo.rollups import RollupFilter, RollupReader
from tests.service.admin.test_usage_groups import ZONES, load
from tests.support.earlier_ledger import EarlierLedger
from tests.unit.builders import account

ALL = RollupFilter(since=date(2026, 1, 1), until=date(2027, 1, 1))
_OF = ("day", "model", "provider")
_SUMS = ("cost_nusd", "calls", "corrections", "status", "tokens")
_Sums = dict[tuple[str, ...], dict[str, int]]


class Killed(Exception):
    """A worker's end, right before the commit."""


@pytest.fixture(autouse=True)
async def accounts(database: Database) -> None:
    for user_id in ZONES:
        await AccountStore(database).insert(account(user_id))
    await build_indexes(database, WORKER_INDEXES)


def flat(document: Mapping[str, Any], path: str = "") -> Counter[str]:
    found: Counter[str] = Counter()
    for name, value in document.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{path}{name}."))
        else:
            found[path + name] += value
    return found


async def summed(
    database: Database, collection: str, names: Sequence[str], query: Document
) -> _Sums:
    """By day, model and provider, what is not 0."""
    sums: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    async for row in database[collection].find(query):
        kept = flat({name: row[name] for name in names if name in row})
        sums[tuple(row.get(name) or "" for name in _OF)].update(kept)
    return without_zeros(sums)


def without_zeros(sums: Mapping[tuple[str, ...], Mapping[str, int]]) -> _Sums:
    found = {of: {path: n for path, n in row.items() if n} for of, row in sums.items()}
    return {of: row for of, row in found.items() if row}


def by_status(cells: _Sums) -> _Sums:
    """Of cells by hour, those of the day."""
    sums: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for of, row in cells.items():
        for path, number in row.items():
            sums[of][f"cells.{of[0]}T00:00 {path.partition(' ')[2]}"] += number
    return without_zeros(sums)


async def assert_same(database: Database) -> None:
    """A rollup without cells has its sums in both documents."""
    day, hour, plain = {"by": "day"}, {"by": "hour"}, {"v": None}
    sums = await summed(database, "rollups", _SUMS, {})
    assert sums
    assert await summed(database, "rollup_totals", _SUMS, day) == sums
    cells = await summed(database, "rollups", ["cells"], {"v": 2})
    assert await summed(database, "rollup_totals", ["cells"], hour | {"v": 2}) == cells
    assert await summed(database, "rollup_totals", ["cells"], day | {"v": 2}) == by_status(cells)
    assert await summed(database, "rollup_totals", _SUMS, hour) == await summed(
        database, "rollups", _SUMS, plain
    )


async def post_all(
    database: Database, entries: Sequence[LedgerEntry], chance: random.Random
) -> None:
    """As workers do that are killed, and whose batches are delivered again, in part."""
    kills = chance.random()

    async def beside(_: Sequence[LedgerEntry], __: Mapping[str, Document], ___: Session) -> None:
        if chance.random() < kills / 2:
            raise Killed

    ledger = LedgerStore(database, rollup_tags=("team",), beside=beside)
    batches = [list(entries[start : start + 13]) for start in range(0, len(entries), 13)]
    batches += [chance.sample(entries, 5) for _ in range(5)]
    while batches:
        try:
            await ledger.post(batches[0])
        except (Killed, PyMongoError):
            continue
        del batches[0]


@pytest.mark.parametrize("seed", [3, 4, 5])
async def test_totals_are_the_sums_of_the_rollups(database: Database, seed: int) -> None:
    """Of two workers at once, with refunds, late events, and accounts of several zones."""
    entries = load(seed)
    parts = [entries, [*load(seed + 100), *entries]]
    await asyncio.gather(*(post_all(database, part, random.Random(seed)) for part in parts))
    await assert_same(database)
    assert await RollupTotals(database).check()
    assert await database["entries"].count_documents({}) == len(
        {entry.entry_id for part in parts for entry in part}
    )


async def test_workers_that_meet_in_a_slot_part(database: Database) -> None:
    calls = [entry for entry in load(1) if entry.kind == "call" and entry.model == "m"]
    same_day = [msgspec.structs.replace(call, periods=calls[0].periods) for call in calls]
    own = [[call for call in same_day if call.user_id == user_id] for user_id in "ab"]
    met = asyncio.Barrier(2)

    async def meet(_: object, __: object, ___: object) -> None:
        await met.wait()

    first = LedgerStore(database, beside=meet)
    second = LedgerStore(database, beside=meet)
    for batch in zip(*own, strict=False):
        # Both are in their transactions at once, which only documents of their own allow.
        async with asyncio.timeout(20):
            await asyncio.gather(first.post([batch[0]]), second.post([batch[1]]))
    slots = {row["_id"].rpartition("|")[2] for row in await _rows(database)}
    assert slots == {"0", "1"}
    await assert_same(database)


async def _rows(database: Database) -> list[Document]:
    return await database["rollup_totals"].find({"by": "day"}).to_list(None)


async def test_what_an_earlier_release_posts_is_not_lost(database: Database) -> None:
    entries, totals = load(6), RollupTotals(database)
    assert await totals.check()
    await EarlierLedger(database).post(entries[:30])
    # Its rollups may be of an earlier layout, too.
    await database["rollups"].update_one({}, {"$unset": {"v": "", "cells": ""}})
    await LedgerStore(database).post(entries[30:])
    assert not await totals.check()
    reader = RollupReader(database)
    expected = await reader.sums(ALL, ("day", "model"), limit=999)
    assert sum(row.cost_nusd for row in expected) == sum(row.cost_nusd for row in entries)
    zoned = msgspec.structs.replace(ALL, zone="Asia/Tokyo")
    by_zone = await reader.sums(zoned, ("day", "status"), limit=999)

    assert await totals.fill()
    await assert_same(database)
    assert await reader.sums(ALL, ("day", "model"), limit=999) == expected
    assert await reader.sums(zoned, ("day", "status"), limit=999) == by_zone
    # Once more changes nothing, and what is posted after that is added.
    assert await totals.fill()
    await assert_same(database)
    await LedgerStore(database).post(load(7))
    assert await totals.check()
    await assert_same(database)


async def test_totals_are_made_while_workers_post(database: Database) -> None:
    await EarlierLedger(database).post(load(8)[:60])
    totals = RollupTotals(database)

    async def fill() -> None:
        for _ in range(4):
            assert await totals.fill()

    await asyncio.gather(fill(), *(post_all(database, load(n), random.Random(n)) for n in (9, 10)))
    assert await totals.check()
    await assert_same(database)


async def test_sums_of_all_accounts_read_no_rollups(database: Database) -> None:
    await LedgerStore(database).post(load(11))
    await RollupTotals(database).check()
    reader = RollupReader(database)
    tokyo = msgspec.structs.replace(ALL, zone="Asia/Tokyo", status="ok")
    model = msgspec.structs.replace(ALL, model="acme/m", among=("provider", ("acme",)))
    asked: list[tuple[RollupFilter, tuple[str, ...]]] = [
        (ALL, ()),
        (ALL, ("day", "model", "provider", "status")),
        (tokyo, ("hour", "month")),
        (model, ("month",)),
    ]
    rows = [await reader.sums(wanted, by, limit=999) for wanted, by in asked]
    assert all(rows)
    one = msgspec.structs.replace(ALL, user_id="a")
    assert await reader.sums(one, (), limit=1)
    await database["rollups"].delete_many({})
    assert [await reader.sums(wanted, by, limit=999) for wanted, by in asked] == rows
    assert await reader.sums(one, (), limit=1) == []
    assert await reader.sums(ALL, ("account",), limit=1) == []


@pytest.mark.parametrize("earlier", [0, 40])
async def test_the_dearest_accounts_are_those_of_all_rollups(
    database: Database, earlier: int
) -> None:
    """Also where a worker of an earlier release keeps spend elsewhere, and for any days."""
    entries = load(12)
    for user_id in ("none", "free"):
        await AccountStore(database).insert(account(user_id))
    free = msgspec.structs.replace(entries[0], entry_id="free", user_id="free", cost_nusd=0)
    split = len(entries) - earlier
    await LedgerStore(database).post([*entries[:split], free])
    if earlier:
        await EarlierLedger(database).post(entries[split:])
    reader, days = RollupReader(database), sorted({entry.periods[3] for entry in [*entries, free]})
    first, last = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
    for since, until in ((first, last), (first, first + timedelta(days=3)), (last, last)):
        wanted = RollupFilter(since=since, until=until + timedelta(days=1))
        # All accounts by another field, too, which are read from all rollups.
        spent = Counter[str]()
        for row in await reader.sums(wanted, ("account", "day"), limit=999):
            spent[row.group[0]] += row.cost_nusd
        names = await dearest_accounts(database, wanted.since, wanted.until, 9)
        assert (names is None) == bool(earlier)
        order = sorted(spent, key=lambda user_id: (-spent[user_id], user_id))
        assert names is None or names == order
        for limit in (1, 2, 9):
            rows = await reader.sums(wanted, ("account",), limit=limit)
            assert [row.group for row in rows] == [(name,) for name in order[:limit]]
            assert [row.cost_nusd for row in rows] == [spent[name] for name in order[:limit]]
