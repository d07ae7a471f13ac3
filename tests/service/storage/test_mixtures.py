"""What is read is the sum of the entries, in every zone, wherever their sums are just then."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, timedelta

import msgspec
import pytest

from libs.common.domain.periods import hour_of, period_keys, zone_of
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.indexes import WORKER_INDEXES
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.rollup_filter import RollupFilter
from libs.common.storage.mongo.rollup_segments import RollupSegments
from libs.common.storage.mongo.rollups import RollupReader
from tests.service.admin.test_usage_groups import START, load, tag_of
from tests.unit.builders import account

# With offsets of quarters of an hour, clocks that change by half of one, and the furthest from UTC.
ZONES = (
    "America/New_York",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
)
FIELDS: dict[str, Callable[[LedgerEntry], str]] = {
    "account": lambda row: row.user_id,
    "key": lambda row: row.key_id,
    "model": lambda row: row.model or "",
    "provider": lambda row: row.provider or "",
    "status": lambda row: row.status,
    "client_user": lambda row: row.client_user or "",
    "tag:team": lambda row: tag_of(row, "team") or "",
}
TIMES = {"hour": "%Y-%m-%dT%H:00%z", "day": "%Y-%m-%d", "month": "%Y-%m"}
Found = dict[tuple[str, ...], tuple[int, int, int, int]]


@pytest.fixture(autouse=True)
async def accounts(database: Database) -> None:
    for user_id in "abc":
        await AccountStore(database).insert(account(user_id))
    await build_indexes(database, WORKER_INDEXES)


def at_a_days_border(row: LedgerEntry, chance: random.Random) -> LedgerEntry:
    """In an account's zone, which may be another than a day ago."""
    name = chance.choice(ZONES)
    zone = zone_of(name)
    midnight = (START + timedelta(days=chance.randrange(20))).astimezone(zone)
    midnight = midnight.replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + timedelta(seconds=chance.choice([-3600, -1, 0, 1, 1800, 3600]))
    at = at.astimezone(UTC)
    return msgspec.structs.replace(
        row, started_at=at, time_zone=name, periods=period_keys(at, zone)
    )


def time_of(row: LedgerEntry, name: str, zone: str | None) -> str:
    if zone is None and name != "hour":
        return row.periods[3] if name == "day" else row.periods[1]
    began = hour_of(row.started_at, zone_of(row.time_zone))
    return began.astimezone(zone_of(zone or "UTC")).strftime(TIMES[name])


def matches(row: LedgerEntry, filters: RollupFilter) -> bool:
    day = time_of(row, "day", filters.zone)
    values = {"account": filters.user_id, "provider": filters.provider, "status": filters.status}
    return filters.since.isoformat() <= day < filters.until.isoformat() and all(
        value is None or FIELDS[name](row) == value for name, value in values.items()
    )


def expected(rows: Sequence[LedgerEntry], filters: RollupFilter, by: Sequence[str]) -> Found:
    """A late event is a call of its status, in place of one that was abandoned."""
    sums: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)

    def add(row: LedgerEntry, **counts: int) -> None:
        if matches(row, filters):
            group = (
                time_of(row, name, filters.zone) if name in TIMES else FIELDS[name](row)
                for name in by
            )
            sums[tuple(group)].update(counts)

    for row in rows:
        is_call, is_late = row.kind == "call", row.kind == "late_event"
        tokens = (row.usage.input_text if row.usage else None) or 0
        add(row, nusd=row.cost_nusd, calls=is_call or is_late, others=not is_call, tokens=tokens)
        if is_late:
            add(msgspec.structs.replace(row, status="abandoned"), calls=-1)
    return {
        group: (of["nusd"], of["calls"], of["others"], of["tokens"]) for group, of in sums.items()
    }


async def read(reader: RollupReader, filters: RollupFilter, by: Sequence[str]) -> Found:
    return {
        row.group: (
            row.cost_nusd,
            row.calls,
            row.corrections,
            row.tokens.get("input_text", 0),
        )
        for row in await reader.sums(filters, by, limit=9_999)
    }


def question(chance: random.Random) -> tuple[RollupFilter, tuple[str, ...]]:
    since = START.date() + timedelta(days=chance.randrange(-2, 20))
    by = chance.sample([*FIELDS, *TIMES], chance.randrange(4))
    filters = RollupFilter(
        since=since,
        until=since + timedelta(days=chance.choice([1, 2, 5, 9])),
        zone=chance.choice([None, *ZONES]),
        user_id=chance.choice([None, "a", "b"]),
        provider=chance.choice([None, None, "acme"]),
        status=chance.choice([None, None, "ok", "abandoned"]),
    )
    return filters, tuple(by)


@pytest.mark.parametrize("seed", [21, 22])
async def test_sums_equal_the_posted_entries(database: Database, seed: int) -> None:
    chance, rows = random.Random(seed), list[LedgerEntry]()
    ledger, segments = LedgerStore(database, rollup_tags=("team",)), RollupSegments(database)
    entries = load(seed)
    for row in load(seed + 100):
        if row.kind == "call":
            entries.insert(chance.randrange(len(entries)), at_a_days_border(row, chance))
    # From the rollups, and from the segments.
    readers = RollupReader(database), RollupReader(database, few_entries=9_999)
    for start in range(0, len(entries), 30):
        rows += await added(ledger, entries[start : start + 30])
        match chance.randrange(4):
            case 0:
                await segments.fold(at=2)
            case 1:
                await segments.roll_up(after_ms=0, at_once=chance.choice([3, 1000]))
            case 2:
                await segments.roll_up(most_bytes=chance.choice([0, 4_000, 20_000]))
        await segments.check()
        for _ in range(6):
            filters, by = question(chance)
            for reader in readers:
                assert await read(reader, filters, by) == expected(rows, filters, by), (filters, by)
    assert {row.entry_id for row in rows} == {row.entry_id for row in entries}
    ever = RollupFilter(since=date.min, until=date.max)
    assert await read(readers[0], ever, ("account",)) == expected(rows, ever, ("account",))


async def added(ledger: LedgerStore, entries: Sequence[LedgerEntry]) -> Sequence[LedgerEntry]:
    return (await ledger.add(entries)).entries
