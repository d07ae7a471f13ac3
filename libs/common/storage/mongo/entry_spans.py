"""Chooses the next part of the wanted entries: longer and longer spans of time."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from libs.common.domain.periods import period_bounds
from libs.common.storage.mongo.entry_filter import EntryFilter, EntryPlace

# So many entries are soon looked at: those of an account at once, of all accounts by one query.
FEW = 1_000
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
# The first span; beyond the longest, all the rest is asked for.
_SPAN, _SPAN_OF_RARE, _LONGEST = timedelta(hours=4), timedelta(days=4), timedelta(days=400)
_SHORTEST, _WIDER = timedelta(minutes=1), 4
# What looks at many entries for each that it finds takes as long as all spans before it.
_WIDER_IF_SELECTIVE = 2


class SpanPart(msgspec.Struct, frozen=True, kw_only=True):
    """A query's share of what is wanted.

    The query itself sees to it that it looks at no more entries than `looks_at`; None: there are
    few. `is_cut`: with this part, a list has looked at as many as it may. `may_be_last`: at so many
    that whoever has waited long is given what was found until then. `is_empty`: it need not be
    asked.
    """

    filters: EntryFilter
    looks_at: int | None = None
    is_empty: bool = False
    is_cut: bool = False
    may_be_last: bool = False


class SpanParts(Protocol):
    async def next(self, place: EntryPlace | None) -> SpanPart | None:
        """Of what stands after the place; None at the end."""

    async def has_few(self, part: SpanPart) -> bool:
        """Whether it is certain that the part's query may look at all entries of its time."""

    def observe(self, found: int, *, is_whole: bool) -> None:
        """How many entries the part had, and whether it was read to its end."""


class Spans:
    """Parts for `size` entries each. An empty one makes the next longer, so that years without
    entries are few.

    `count`: how many entries there are without the filter, if that is known.
    """

    def __init__(
        self, filters: EntryFilter, now: datetime, *, size: int, most: int, count: int | None = None
    ) -> None:
        self._filters, self._now, self._size = filters, now, size
        self._span = _SPAN if filters.rare is None else _SPAN_OF_RARE
        self._wider = _WIDER_IF_SELECTIVE if filters.is_selective else _WIDER
        self._looks_at, self._may_be_last = None, False
        if filters.is_of_few:
            self._span = _LONGEST
        elif filters.is_selective:
            if count is None or count > most:
                self._looks_at = most
            elif count > FEW:
                self._may_be_last = True
            else:
                self._span = _LONGEST

    async def next(self, place: EntryPlace | None) -> SpanPart | None:
        """Without a `since` all of it."""
        until = self._filters.until if place is None else place.started_at
        top, since = min(self._now, until or self._now), floor_of(self._filters)
        if self._span < min(_LONGEST, top - (since or BEGINNING)):
            since = top - self._span
        part = msgspec.structs.replace(self._filters, since=since, until=until)
        return SpanPart(filters=part, looks_at=self._looks_at, may_be_last=self._may_be_last)

    async def has_few(self, part: SpanPart) -> bool:
        return part.looks_at is None

    def observe(self, found: int, *, is_whole: bool) -> None:
        if not is_whole or found == self._size:
            self._span = max(self._span / 2, _SHORTEST)
        elif found * _WIDER < self._size:
            self._span *= self._wider


def floor_of(filters: EntryFilter) -> datetime | None:
    """What is wanted starts no earlier."""
    if filters.period is None:
        return filters.since
    since, _ = period_bounds(filters.period)
    return since if filters.since is None else max(since, filters.since)
