"""A list of all accounts skips the hours that have nothing of what it wants, and loses none."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from libs.common.domain.periods import period_keys, zone_of
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.indexes import WORKER_INDEXES
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.entry_filter import EntryFilter, EntryPlace
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.mongo.rollup_segments import RollupSegments
from tests.service.admin.test_usage_groups import ZONES, load
from tests.unit.builders import NOW, account, entry

WANTED: tuple[dict[str, Any], ...] = (
    {"provider": "acme"},
    {"provider": "nobody"},
    {"model": "m"},
    {"model": "acme/m"},
    {"model": "alias"},
    {"model": "nothing"},
    {"status": "ok", "kind": "call"},
    {"above_nusd": 0},
    {"above_nusd": 400_000_000},
    {"deployment": "none"},
    {"period": "2026-11"},
    {"provider": "acme", "model": "m", "above_nusd": 10**6, "since": NOW - timedelta(days=20)},
    {"usage_source": "provider", "until": NOW - timedelta(days=20)},
)


@pytest.fixture(autouse=True)
async def accounts(database: Database) -> None:
    for user_id in ZONES:
        await AccountStore(database).insert(account(user_id))
    await build_indexes(database, WORKER_INDEXES)


async def all_ids(reader: LedgerReader, filters: EntryFilter, limit: int) -> list[str]:
    """By pages, to the end."""
    found: list[str] = []
    while True:
        page = await reader.list(filters, now=NOW, limit=limit)
        assert len(page.entries) <= limit
        found += [each.entry_id for each in page.entries]
        if page.last is None:
            return found
        filters = msgspec.structs.replace(filters, before=page.last)


def expected(entries: Iterable[LedgerEntry], filters: EntryFilter) -> list[str]:
    found = [
        each
        for each in entries
        if filters.matches(each)
        and (filters.since is None or each.started_at >= filters.since)
        and (filters.until is None or each.started_at < filters.until)
    ]
    found.sort(key=lambda each: (each.started_at, each.entry_id), reverse=True)
    return [each.entry_id for each in found]


async def test_a_list_has_what_the_entries_have(database: Database) -> None:
    """Of several zones, rolled up in part; with refunds, and calls that had been given up."""
    entries, segments = load(5), RollupSegments(database)
    entries[7] = msgspec.structs.replace(entries[7], requested_model="alias")
    ledger = LedgerStore(database)
    for start in range(0, len(entries), 40):
        await ledger.post(entries[start : start + 40])
        if start < 80:
            await segments.roll_up(after_ms=0)
    assert await segments.check()
    sizes = set()
    for fields in WANTED:
        filters = EntryFilter(**fields)
        found = expected(entries, filters)
        sizes.add(len(found))
        assert await all_ids(LedgerReader(database), filters, 1000) == found, fields
        by_few = LedgerReader(database, looked_at=9, longest_s=0)
        assert await all_ids(by_few, filters, 7) == found, fields
    assert {0, 1} < sizes
    # Segments of an earlier release do not list the names that were asked for.
    unset = {"$unset": {"asked": 1}}
    assert (await segments.collection.update_many({"asked": "alias"}, unset)).modified_count
    filters = EntryFilter(model="alias")
    assert await all_ids(LedgerReader(database), filters, 9) == expected(entries, filters)
    # Without segments that are whole, entries are looked at one by one.
    await segments.collection.update_one({"_id": "state"}, {"$set": {"whole": False}})
    for fields in WANTED[:3]:
        filters = EntryFilter(**fields)
        found = expected(entries, filters)
        assert await all_ids(LedgerReader(database), filters, 1000) == found, fields


class CountingDatabase:
    """A database that counts the queries of its entries."""

    def __init__(self, database: Database) -> None:
        self.client = database.client
        self.queries = 0
        self._database = database

    def __getitem__(self, name: str) -> Any:
        collection = self._database[name]
        if name != "entries":
            return collection
        return SimpleNamespace(aggregate=self._aggregate, find=collection.find)

    def _aggregate(self, pipeline: Any) -> Any:
        self.queries += 1
        return self._database["entries"].aggregate(pipeline)


@pytest.mark.parametrize("at", [1, 2])
async def test_rare_entries_are_read_from_their_hours_alone(database: Database, at: int) -> None:
    """Also while nothing is folded."""
    days = [NOW - timedelta(days=n, hours=n % 7) for n in range(1, 60)]
    rows = [call(n, started_at) for n, started_at in enumerate(days)]
    rows[50] = msgspec.structs.replace(rows[50], provider="xai", model="grok")
    await LedgerStore(database).post(rows)
    await RollupSegments(database).fold(at=at)
    assert await RollupSegments(database).check()
    for fields, found in (
        ({"provider": "xai"}, [50]),
        ({"model": "xai/grok"}, [50]),
        ({"provider": "nobody"}, []),
        ({"model": "nothing"}, []),
        ({"above_nusd": 10**9}, []),
    ):
        counting = CountingDatabase(database)
        reader = LedgerReader(cast("Database", counting))
        filters = EntryFilter(**fields)
        page = await reader.list(filters, now=NOW, limit=50)
        assert [each.entry_id for each in page.entries] == [rows[n].entry_id for n in found]
        assert page.last is None
        # The newest hours, and the one that it is in.
        assert counting.queries == 1 + len(found)


async def test_years_without_what_is_wanted_are_passed_by_pages(database: Database) -> None:
    """Where their sums alone take long."""
    days = [NOW - timedelta(days=n) for n in (1, 100, 700, 1500)]
    rows = [call(n, started_at) for n, started_at in enumerate(days)]
    rows[3] = msgspec.structs.replace(rows[3], provider="xai")
    await LedgerStore(database).post(rows)
    assert await RollupSegments(database).check()
    filters = EntryFilter(provider="xai")
    in_haste, patient = LedgerReader(database, longest_s=0), LedgerReader(database, longest_s=60)
    page = await patient.list(filters, now=NOW, limit=5)
    assert [each.entry_id for each in page.entries] == [rows[3].entry_id]
    first = await in_haste.list(filters, now=NOW, limit=5)
    assert (first.entries, first.last is None) == ([], False)
    assert await all_ids(in_haste, filters, 5) == [rows[3].entry_id]


async def test_an_hour_that_a_clock_makes_longer_is_read_to_its_end(database: Database) -> None:
    """On Lord Howe Island the clock goes back by half an hour, at 2."""
    late = datetime(2026, 4, 4, 15, 20, tzinfo=UTC)
    assert late.astimezone(zone_of("Australia/Lord_Howe")).strftime("%H:%M") == "01:50"
    rows = [call(0, late, "Australia/Lord_Howe"), call(1, late - timedelta(days=9))]
    await LedgerStore(database).post(rows)
    assert await RollupSegments(database).check()
    before = EntryPlace(late + timedelta(days=2), "")
    filters = EntryFilter(provider="openai", before=before)
    page = await LedgerReader(database).list(filters, now=NOW, limit=5)
    assert [each.entry_id for each in page.entries] == [row.entry_id for row in rows]


def call(n: int, started_at: datetime, zone: str = "UTC") -> LedgerEntry:
    return entry(
        f"call-{n:03}",
        user_id="a",
        started_at=started_at,
        time_zone=zone,
        periods=period_keys(started_at, zone_of(zone)),
    )
