"""Finds hours that may have the wanted entries of all accounts, by the columns of the rollups.

No index has what many entries have in common, a provider or a model, since each posting would have
to keep it. The segments tell by hour how many entries there are, and of which model, provider and
status; so hours that have none are skipped, and a query reads no more entries than it may.

The newest hours are read without that, where most lists end.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from operator import add

import msgspec

from libs.common.storage.mongo.driver import Database, Document, Session, in_transaction
from libs.common.storage.mongo.entry_filter import EntryFilter, EntryPlace
from libs.common.storage.mongo.entry_spans import BEGINNING, FEW, SpanPart, Spans, floor_of
from libs.common.storage.mongo.rollup_rows import HOUR, MAX_VALUE_CHARS, OTHER
from libs.common.storage.mongo.rollup_segments import STATE
from libs.common.storage.mongo.segment_documents import ASKED, WHOLE, table_of
from libs.common.storage.mongo.sum_tables import STATUS, SumTable
from libs.common.storage.mongo.table_rows import rows_of_model, rows_with

_LEVEL = "hours"
# The first days that are read; each time more of them, and of the entries that are expected.
_DAYS, _WIDER = 4, 4
# After so many, whoever has waited long is told to go on from there.
_MOST_DAYS = 256
_READ_AT_ONCE = 16
# How much earlier and later than in UTC a day begins.
_ZONES_BEFORE, _ZONES_AFTER = timedelta(hours=14), timedelta(hours=12)
# The longest hour is one in which a zone's clock goes back by a half.
_HOUR = timedelta(minutes=90)
# Entries that one query looks at; and so many in vain take as long as one more query.
_AT_ONCE, _SKIPPED = 500, 50


class _Hour(msgspec.Struct):
    """How many entries began in it, and how many of them the filter may match: 0 is certain."""

    entries: int = 0
    candidates: int = 0


class _Unknown(Exception):
    """The segments do not tell."""


class EntryHours:
    """Parts of what is wanted of all accounts, for `size` entries each."""

    def __init__(
        self, database: Database, filters: EntryFilter, now: datetime, *, size: int, most: int
    ) -> None:
        self._database, self._segments = database, database["rollup_segments"]
        self._filters, self._now, self._size, self._most = filters, now, size, most
        self._newest = Spans(filters, now, size=size, most=min(FEW, most))
        # Where the segments do not tell.
        self._spans = Spans(filters, now, size=size, most=most)
        self._is_first, self._is_known = True, True
        # What was read until now: found, of how many candidates, and among how many entries.
        self._found, self._candidates, self._looked_at = 0, 0, 0
        # Of the days since `_first`, the newest one first; and whether there are none before.
        self._hours: dict[datetime, _Hour] = {}
        self._starts: list[datetime] = []
        self._first: date | None = None
        self._days, self._is_all = _DAYS, False

    async def next(self, place: EntryPlace | None) -> SpanPart | None:
        if place is None or self._is_first:
            self._is_first = False
            return await self._newest.next(place)
        if self._is_known:
            try:
                return await self._next(place.started_at)
            except _Unknown:
                self._is_known = False
        return await self._spans.next(place)

    async def has_few(self, part: SpanPart) -> bool:
        """Of the newest hours, the segments tell it."""
        if part.looks_at is None or not self._is_known:
            return part.looks_at is None
        since, until = part.filters.since or BEGINNING, part.filters.until or self._now
        try:
            while since < self._known_from and not self._is_all:
                await in_transaction(self._database, partial(self._read, until))
        except _Unknown:
            self._is_known = False
            return False
        for start in self._starts:
            if since - _HOUR < start < until:
                self._looked_at += self._hours[start].entries
                self._candidates += self._hours[start].candidates
        return self._looked_at <= part.looks_at

    def observe(self, found: int, *, is_whole: bool) -> None:
        self._found += found
        self._spans.observe(found, is_whole=is_whole)

    async def _next(self, top: datetime) -> SpanPart | None:
        """Raises _Unknown."""
        floor = floor_of(self._filters)
        while True:
            run = self._run(top, floor)
            if run is not None:
                return run
            if self._is_all or (floor is not None and self._known_from <= floor):
                return None
            if self._days > _MOST_DAYS and self._known_from < top:
                rest = msgspec.structs.replace(self._filters, since=self._known_from, until=top)
                return SpanPart(filters=rest, is_empty=True, may_be_last=True)
            await in_transaction(self._database, partial(self._read, top))

    def _run(self, top: datetime, floor: datetime | None) -> SpanPart | None:
        """Of the hours that are known, the newest that may have what is wanted."""
        since, until, skipped, looked_at, candidates = None, top, 0, 0, 0
        for start in self._starts:
            if start < self._known_from or (floor is not None and start + _HOUR <= floor):
                break
            hour = self._hours[start]
            if start >= top or not hour.candidates:
                skipped += hour.entries if start < top else 0
            elif since is None:
                since, until = start, min(top, start + _HOUR)
                skipped, looked_at, candidates = 0, hour.entries, hour.candidates
            elif (
                candidates >= self._enough
                or skipped > _SKIPPED
                or looked_at + skipped + hour.entries > _AT_ONCE
            ):
                break
            else:
                since, looked_at = start, looked_at + skipped + hour.entries
                skipped, candidates = 0, candidates + hour.candidates
        if since is None:
            return None
        self._looked_at += looked_at
        self._candidates += candidates
        return SpanPart(
            filters=msgspec.structs.replace(
                self._filters, since=since if floor is None else max(since, floor), until=until
            ),
            # Where more than a list may look at began in one hour.
            looks_at=self._most if looked_at > self._most else None,
            is_cut=self._looked_at >= self._most,
            may_be_last=self._looked_at >= _AT_ONCE,
        )

    @property
    def _enough(self) -> int:
        """Among so many candidates is what a part shall have, as it was until now."""
        rest = self._size - self._found % self._size
        return max(rest, rest * self._candidates // self._found if self._found else _AT_ONCE)

    @property
    def _known_from(self) -> datetime:
        """What began since then is of days that were read, in every zone."""
        if self._is_all:
            return BEGINNING
        first = date.max if self._first is None else self._first
        return datetime.combine(first, time(), UTC) + _ZONES_AFTER

    async def _read(self, top: datetime, session: Session) -> None:
        """The days before those that were read, if there are any."""
        until = self._first
        if until is not None and not await self._has_days_before(until, session):
            self._is_all = True
            return
        if until is None:
            state = await self._segments.find_one({"_id": STATE}, session=session)
            if state is None or not state["whole"]:
                raise _Unknown
            until = (top + _ZONES_BEFORE).date() + timedelta(days=1)
        first = until - timedelta(days=self._days)
        days = {"$gte": first.isoformat(), "$lt": until.isoformat()}
        hours: dict[datetime, _Hour] = {}
        for level in (_LEVEL, *WHOLE):
            cursor = self._segments.find({"level": level, "day": days}, session=session)
            while documents := await cursor.to_list(_READ_AT_ONCE):
                # Other requests are answered meanwhile.
                await asyncio.to_thread(self._add, hours, documents)
        # A transaction may be tried again.
        for start, hour in hours.items():
            total = self._hours.setdefault(start, _Hour())
            total.entries += hour.entries
            total.candidates += hour.candidates
        self._starts = sorted(self._hours, reverse=True)
        self._first, self._days = first, self._days * _WIDER

    async def _has_days_before(self, first: date, session: Session) -> bool:
        for level in (_LEVEL, *WHOLE):
            query = {"level": level, "day": {"$lt": first.isoformat()}}
            if await self._segments.find_one(query, {"day": 1}, session=session) is not None:
                return True
        return False

    def _add(self, hours: dict[datetime, _Hour], documents: Iterable[Document]) -> None:
        """Raises _Unknown for sums that are of no hour."""
        for document in documents:
            table = table_of(document)
            names = document.get(ASKED)
            if document["level"] in WHOLE:
                names = table.field("requested_model").values
            field = table.field(HOUR)
            table_hours = [hours.setdefault(_start(text), _Hour()) for text in field.values]
            counts = list(map(add, table.sum("calls"), table.sum("corrections")))
            for number, count in zip(field.numbers, counts, strict=True):
                table_hours[number].entries += count
            for row in _candidate_rows(self._filters, table, names):
                # A late event takes a call from another row.
                table_hours[field.numbers[row]].candidates += max(counts[row], 1)


def _start(hour: str) -> datetime:
    if not hour:
        raise _Unknown
    return datetime.fromisoformat(f"{hour}+00:00")


def _candidate_rows(
    filters: EntryFilter, table: SumTable, names: Sequence[str] | None
) -> Sequence[int]:
    """Rows of entries some of which the filter may match; `names` are those that were asked for."""
    rows: Sequence[int] = range(table.rows)
    if filters.provider is not None:
        rows = rows_with(table.field("provider"), {filters.provider}, rows)
    if filters.status is not None:
        rows = rows_with(table.field(STATUS), {filters.status}, rows)
    if filters.model is not None and not _may_be_asked(filters.model, names):
        rows = rows_of_model(table, filters.model, rows)
    if filters.above_nusd is not None:
        # Corrections may have made a sum less than one of its calls cost.
        costs, corrections = table.sum("cost_nusd"), table.sum("corrections")
        rows = [row for row in rows if costs[row] > filters.above_nusd or corrections[row]]
    return rows


def _may_be_asked(name: str, names: Sequence[str] | None) -> bool:
    return names is None or len(name) > MAX_VALUE_CHARS or name in names or OTHER in names
