"""Sums over many accounts, from `rollup_segments`; for any account, what the rollups lack.

For each day, the smallest sufficient level is read. In a `zone`, a day is computed from its hours;
of days that are within the period in every zone, their sums are taken where no time is asked for.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import partial
from typing import Any

import msgspec

from libs.common.domain.periods import zone_of
from libs.common.storage.mongo.driver import (
    Collection,
    Database,
    Document,
    Session,
    in_transaction,
)
from libs.common.storage.mongo.rollup_filter import (
    STORED,
    ZONES_APART,
    Grouping,
    RankedSums,
    RollupFilter,
    Sums,
)
from libs.common.storage.mongo.rollup_rows import HOUR, IN_CELLS, TAG, TAGS
from libs.common.storage.mongo.rollup_segments import STATE
from libs.common.storage.mongo.segment_documents import (
    LEVELS,
    ROWS,
    TOTALS,
    UNROLLED,
    USERS,
    WHOLE,
    table_of,
)
from libs.common.storage.mongo.sum_tables import (
    OF_STATUS,
    STATUS,
    FieldColumn,
    SumTable,
    Tally,
    TooManyGroups,
)
from libs.common.storage.mongo.table_rows import rows_of_model, rows_with

# Beyond that, MongoDB groups on its disk. What the rollups lack it cannot group: of that there are
# a few thousand cells, unless it has not been rolled up for long.
_MAX_GROUPS, _MAX_UNROLLED_GROUPS = 1_000_000, 100_000
_READ_AT_ONCE = 16
_TIMES = frozenset({"day", "month", "hour"})
_TOKENS = "tokens."
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode


class SegmentSums:
    """The groups that were found."""

    def __init__(self, by: Sequence[Grouping], *, most: int = _MAX_GROUPS) -> None:
        self.tally = Tally(by, most=most, statuses=True)

    def ranked(
        self, limit: int, groups: Sequence[tuple[str, ...]] | None, brief: bool
    ) -> RankedSums:
        """The dearest of all groups, or of these."""
        among = None if groups is None else frozenset(groups)
        dearest = self.tally.dearest(limit, among, brief=brief)
        rows = [_sums(group, sums) for group, sums in dearest.groups]
        return RankedSums(rows=rows, total=_sums((), dearest.total))


def _sums(group: tuple[str, ...], sums: Mapping[str, int]) -> Sums:
    return Sums(
        group=group,
        cost_nusd=sums.get("cost_nusd", 0),
        calls=sums.get("calls", 0),
        corrections=sums.get("corrections", 0),
        statuses=_with_prefix(sums, OF_STATUS),
        tokens=_with_prefix(sums, _TOKENS),
    )


class _Scan(msgspec.Struct, frozen=True, kw_only=True):
    """Days, by their names, and the level of their segments. `timed`: it is asked by hours."""

    days: Document
    level: str
    timed: bool


async def segment_sums(
    database: Database, filters: RollupFilter, by: Sequence[Grouping], *, most_entries: int
) -> SegmentSums | None:
    """Of one snapshot. None where the segments are not whole, or the groups too many.

    Nor is one account read from them where the ledger has more than `most_entries`.
    """
    collection = database["rollup_segments"]

    async def work(session: Session) -> SegmentSums | None:
        state = await collection.find_one({"_id": STATE}, session=session)
        if state is None or not state["whole"]:
            return None
        if filters.user_id is not None and state["ledger_entries"] > most_entries:
            return None
        sums = SegmentSums(by)
        for scan in _scans(filters, by):
            is_complete = scan.level != USERS or await _has_users(collection, scan.days, session)
            for level in (scan.level if is_complete else ROWS, *WHOLE):
                await _add_level(collection, sums.tally, filters, by, scan, level, session)
        return sums

    try:
        return await in_transaction(database, work)
    except TooManyGroups:
        return None


async def unrolled_sums(
    database: Database, filters: RollupFilter, by: Sequence[Grouping], session: Session
) -> SegmentSums:
    """What the rollups lack. Raises TooManyGroups."""
    sums = SegmentSums(by, most=_MAX_UNROLLED_GROUPS)
    scan = _Scan(days=filters.query()["day"], level=UNROLLED, timed=filters.zone is not None)
    await _add_level(database["rollup_segments"], sums.tally, filters, by, scan, UNROLLED, session)
    return sums


async def _add_level(
    collection: Collection,
    tally: Tally,
    filters: RollupFilter,
    by: Sequence[Grouping],
    scan: _Scan,
    level: str,
    session: Session,
) -> None:
    add = partial(_add, tally, filters, by, scan)
    cursor = collection.find({"level": level, "day": scan.days}, session=session)
    while documents := await cursor.to_list(_READ_AT_ONCE):
        # Other requests are answered meanwhile.
        await asyncio.to_thread(add, documents)


def _scans(filters: RollupFilter, by: Sequence[Grouping]) -> Iterator[_Scan]:
    days = filters.query()["day"]
    by_hour = HOUR in by
    if filters.zone is None:
        yield _Scan(days=days, level=_level(filters, by, by_hour), timed=False)
        return
    first, last = (
        (filters.since + ZONES_APART).isoformat(),
        (filters.until - ZONES_APART).isoformat(),
    )
    timed = _level(filters, by, True)
    if not _TIMES.isdisjoint(by) or first >= last:
        yield _Scan(days=days, level=timed, timed=True)
        return
    yield _Scan(days=days | {"$lt": first}, level=timed, timed=True)
    yield _Scan(days={"$gte": first, "$lt": last}, level=_level(filters, by, False), timed=False)
    yield _Scan(days=days | {"$gte": last}, level=timed, timed=True)


async def _has_users(collection: Collection, days: Document, session: Session) -> bool:
    """Whether the level is that of the segments: a worker of an earlier release folds them without
    it, and leaves that of those that it folded.
    """
    segments = []
    for level in (TOTALS, USERS):
        cursor = collection.find({"level": level, "day": days}, {"_id": 1}, session=session)
        tables = await cursor.to_list(None)
        segments.append({table["_id"].partition("|")[0] for table in tables})
    return segments[0] == segments[1]


def _level(filters: RollupFilter, by: Sequence[Grouping], timed: bool) -> str:
    """The first that has all fields which are asked for."""
    names = {*by} | ({filters.among[0]} if filters.among else set())
    needed = {_field_of(name) for name in names - {"day", "month"}}
    needed |= {name for name in _EQUAL if getattr(filters, name) is not None}
    needed |= {"model", "provider"} if filters.model is not None else set()
    needed |= {TAGS} if filters.tag is not None else set()
    needed |= {HOUR} if timed else set()
    return next(level for level, fields in LEVELS.items() if needed <= {*fields})


_EQUAL = ("user_id", "key_id", "provider", "requested_model", "client_user", STATUS)


def _field_of(name: Grouping) -> str:
    """Of the tables."""
    return TAGS if name.startswith(TAG) else name if name in IN_CELLS else STORED[name]


def _add(
    tally: Tally,
    filters: RollupFilter,
    by: Sequence[Grouping],
    scan: _Scan,
    documents: Iterable[Document],
) -> None:
    for document in documents:
        table, day = table_of(document), document["day"]
        rows = _rows(table, filters, day if scan.timed else None)
        if rows is None or rows:
            fields = {name: _values(table, name, day, filters.zone) for name in by}
            tally.add(table, rows=rows, fields=fields)


def _values(table: SumTable, name: Grouping, day: str, zone: str | None) -> FieldColumn:
    """Of each row, as a group has it."""
    if name not in _TIMES:
        return _stored_column(table, name)
    if name == HOUR or zone is not None:
        hours = table.field(HOUR)
        default = {"hour": "", "day": day, "month": day[:7]}[name]
        clock = zone_of(zone or "UTC")
        return FieldColumn(
            [_at(hour, clock, name) if hour else default for hour in hours.values], hours.numbers
        )
    return FieldColumn([day if name == "day" else day[:7]], bytes(table.rows))


def _stored_column(table: SumTable, name: Grouping) -> FieldColumn:
    if not name.startswith(TAG):
        return table.field(_field_of(name))
    tags, tag = table.field(TAGS), name.removeprefix(TAG)
    values = [_decode_tags(text).get(tag, "") if text else "" for text in tags.values]
    return FieldColumn(values, tags.numbers)


def _at(hour: str, zone: tzinfo, name: Grouping) -> str:
    local = datetime.fromisoformat(f"{hour}+00:00").astimezone(zone)
    match name:
        case "hour":
            return local.strftime("%Y-%m-%dT%H:00%z")
        case "month":
            return f"{local:%Y-%m}"
        case _:
            return f"{local:%Y-%m-%d}"


def _rows(table: SumTable, filters: RollupFilter, day: str | None) -> Sequence[int] | None:
    """The numbers of those that are wanted; None: all. `day` where it is told by hours."""
    rows: Sequence[int] | None = None
    for name in _EQUAL:
        value = getattr(filters, name)
        # What one account has is little: whatever else is asked of it is asked of that.
        if value is not None and rows != []:
            rows = rows_with(table.field(name), {value}, rows)
    if filters.tag is not None:
        rows = rows_with(_stored_column(table, f"{TAG}{filters.tag[0]}"), {filters.tag[1]}, rows)
    if filters.among is not None:
        rows = rows_with(_stored_column(table, filters.among[0]), {*filters.among[1]}, rows)
    if filters.model is not None:
        rows = rows_of_model(table, filters.model, rows)
    times = filters.times()
    if day is not None and times is not None:
        hours = table.field(HOUR)
        is_own = filters.since.isoformat() <= day < filters.until.isoformat()
        chosen = {
            hour for hour in hours.values if (times[0] <= hour < times[1] if hour else is_own)
        }
        rows = rows_with(hours, chosen, rows)
    return rows


def _with_prefix(sums: Mapping[str, int], prefix: str) -> dict[Any, int]:
    """Those whose name begins so, by the rest of it, without zeros."""
    return {
        name.removeprefix(prefix): n for name, n in sums.items() if n and name.startswith(prefix)
    }
