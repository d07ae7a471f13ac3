"""Reads an account's entries, and the spend of accounts and keys."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from itertools import chain
from time import monotonic

import msgspec
import structlog

from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.spend import KeyPeriod, PeriodSpend
from libs.common.storage.mongo.account_spend import NOT_READ, AccountSpend
from libs.common.storage.mongo.batched_reads import IDS_PER_READ, one_of
from libs.common.storage.mongo.driver import (
    Database,
    Document,
    PyMongoError,
    Session,
    in_transaction,
)
from libs.common.storage.mongo.entry_filter import EntryFilter, EntryPlace
from libs.common.storage.mongo.entry_stretches import Stretch, entry_place, stretches
from libs.common.storage.mongo.slices import Rows, Slice, read_slice
from libs.common.storage.mongo.unrolled_sums import KeyDay, UnrolledSums

# Entries that one page of a list looks at; and after how long it has looked enough, for whoever
# waits.
_LOOKED_AT, _LONGEST_S = 10_000, 0.05
# The same, on the way back: they are decoded to be looked at.
_NEWER_LOOKED_AT = 2_000
# Entries of one page of an export.
_PAGE = 1_000
# For each page.
_TRIES, _LONGEST_PAUSE_S = 5, 2.0

log = structlog.get_logger(__name__)


class EntryPage(msgspec.Struct, frozen=True, kw_only=True):
    """The newest first; `last` is where the next page goes on, None at the end."""

    entries: list[LedgerEntry]
    last: EntryPlace | None


class LedgerReader:
    """Reads entries, what accounts spent (by period) and `rollups` (by day)."""

    def __init__(
        self, database: Database, *, looked_at: int = _LOOKED_AT, longest_s: float = _LONGEST_S
    ) -> None:
        self._database = database
        self._looked_at, self._longest_s = looked_at, longest_s
        self._entries = database["entries"]
        self._of_accounts = AccountSpend(database)
        self._rollups = database["rollups"]
        self._unrolled = UnrolledSums(database)

    async def spend_of(self, user_id: str, periods: Sequence[str]) -> dict[str, int]:
        """Nano-USD by period, 0 included."""
        spent = await self.spend_of_many([user_id], periods)
        return {period: spent.get((user_id, period), 0) for period in periods}

    async def spend_of_many(
        self,
        user_ids: Sequence[str],
        periods: Sequence[str],
        accounts: Mapping[str, Document] = NOT_READ,
    ) -> dict[tuple[str, str], int]:
        """As `spend_of`, by (user_id, period). Leaves out pairs without a posting.

        `accounts`, documents by user_id, are not read again.
        """
        spent = await self.spend_with_revisions(user_ids, periods, accounts=accounts)
        return {pair: amount.nusd for pair, amount in spent.items()}

    async def spend_of_documents(
        self, accounts: Sequence[Document], periods: Sequence[str]
    ) -> dict[tuple[str, str], int]:
        """As `spend_of_many`, of accounts whose documents have been read for these periods."""
        user_ids = [account["_id"] for account in accounts]
        spent = await self._of_accounts.of_documents(accounts, user_ids, periods)
        return {pair: amount.nusd for pair, amount in spent.items()}

    async def spend_with_revisions(
        self,
        user_ids: Sequence[str],
        periods: Sequence[str],
        session: Session | None = None,
        accounts: Mapping[str, Document] = NOT_READ,
    ) -> dict[tuple[str, str], PeriodSpend]:
        """As `spend_of_many`, with each figure's revision; `accounts` as a posting left them."""
        return await self._of_accounts.read(user_ids, periods, session, accounts)

    async def spend_of_keys(
        self, key_periods: Iterable[KeyPeriod], session: Session | None = None
    ) -> dict[KeyPeriod, PeriodSpend]:
        """What keys spent: in the rollups, and what these lack. A revision only grows."""
        distinct = tuple(dict.fromkeys(key_periods))

        async def work(session: Session) -> dict[KeyPeriod, PeriodSpend]:
            ever = [each for each in distinct if each.days is None]
            bounded = [each for each in distinct if each.days is not None]
            lacking = await self._unrolled.of({each.user_id for each in distinct}, session)
            of_ever = _by_key(await self._key_rows(ever, session, by_day=False), lacking)
            of_days = _by_key(await self._key_rows(bounded, session, by_day=True), lacking)
            return {
                each: _spent((of_ever if each.days is None else of_days)[_key(each)], each.days)
                for each in distinct
            }

        if session is not None:
            return await work(session)
        return await in_transaction(self._database, work) if distinct else {}

    async def _key_rows(
        self, key_periods: Sequence[KeyPeriod], session: Session, *, by_day: bool
    ) -> list[KeyDay]:
        """The rollups' sums, of all days or by day, of at least these `key_periods`."""
        fields = ("user_id", "key_id", "day") if by_day else ("user_id", "key_id")
        group = {
            "_id": {name: f"${name}" for name in fields},
            "nusd": {"$sum": "$cost_nusd"},
            "revision": {"$sum": "$revision"},
        }
        rows: list[Document] = []
        for start in range(0, len(key_periods), IDS_PER_READ):
            chunk = key_periods[start : start + IDS_PER_READ]
            match: Document = {
                "user_id": one_of(each.user_id for each in chunk),
                "key_id": one_of(each.key_id for each in chunk),
            }
            if by_day:
                days = [each.days for each in chunk if each.days is not None]
                match["day"] = {"$gte": min(d[0] for d in days), "$lte": max(d[1] for d in days)}
            pipeline: list[Document] = [{"$match": match}, {"$group": group}]
            rows += await self._rollups.aggregate(pipeline, session=session).to_list(None)
        # What is found of one read may be found of another, too.
        distinct_rows = {tuple(row["_id"].values()): row for row in rows}
        return [
            KeyDay(
                row["_id"]["user_id"],
                row["_id"]["key_id"],
                row["_id"].get("day", ""),
                int(row["nusd"]),
                int(row["revision"]),
            )
            for row in distinct_rows.values()
        ]

    async def spend_before(self, user_id: str, month: str) -> int:
        """Nano-USD of all months before that one."""
        return await self._of_accounts.before(user_id, month)

    async def list(self, filters: EntryFilter, *, now: datetime, limit: int) -> EntryPage:
        """A page may be short, or empty, before the end: it looks at a bounded number of entries,
        and at no more than some where these take long.

        So no filter needs an index of its own, which every posting would have to keep.
        """
        began = monotonic()
        entries: list[LedgerEntry] = []
        async with aclosing(self._stretches(filters, now, limit + 1)) as found:
            async for stretch in found:
                entries += stretch.entries
                if len(entries) > limit:
                    shown = entries[:limit]
                    return EntryPage(entries=shown, last=entry_place(shown[-1]))
                is_late = stretch.may_be_last and monotonic() - began > self._longest_s
                if stretch.is_cut or is_late:
                    return EntryPage(entries=entries, last=stretch.last)
        return EntryPage(entries=entries, last=None)

    async def list_newer(self, filters: EntryFilter, part: Slice) -> Rows[LedgerEntry]:
        """The oldest first, from a place in the list on; as few of them as `list` may find."""
        return await read_slice(
            self._entries,
            filters.in_order(),
            part,
            LedgerEntry,
            keep=filters.matches,
            most=_NEWER_LOOKED_AT,
        )

    async def pages(
        self,
        filters: EntryFilter,
        *,
        now: datetime,
        without: tuple[str, ...] = (),
        size: int = _PAGE,
    ) -> AsyncIterator[Sequence[LedgerEntry]]:
        """All entries, the newest first, without the fields `without`.

        Between two pages nothing is held, so one that MongoDB did not answer for in time is asked
        for again, but not the first.

        An entry that was in the ledger before is there once; one that is posted meanwhile is there
        if it started before those that were read until then.
        """
        rest, tries = filters, _TRIES
        while True:
            try:
                async with aclosing(self._stretches(rest, now, size, without)) as found:
                    async for stretch in found:
                        rest, tries = msgspec.structs.replace(filters, before=stretch.last), _TRIES
                        if stretch.entries:
                            yield stretch.entries
                return
            except PyMongoError as error:
                tries -= 1
                if rest is filters or not tries:
                    raise
                log.warning("entries.read_again", error=error)
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_S))

    def _stretches(
        self, filters: EntryFilter, now: datetime, size: int, without: tuple[str, ...] = ()
    ) -> AsyncGenerator[Stretch, None]:
        return stretches(
            self._database, filters, now, size=size, looked_at=self._looked_at, without=without
        )


def _key(row: KeyDay | KeyPeriod) -> tuple[str, str]:
    return row.user_id, row.key_id


def _by_key(*parts: Iterable[KeyDay]) -> defaultdict[tuple[str, str], list[KeyDay]]:
    rows_by_key: defaultdict[tuple[str, str], list[KeyDay]] = defaultdict(list)
    for row in chain(*parts):
        rows_by_key[_key(row)].append(row)
    return rows_by_key


def _spent(rows: Iterable[KeyDay], days: tuple[str, str] | None) -> PeriodSpend:
    in_period = [row for row in rows if days is None or days[0] <= row.day <= days[1]]
    return PeriodSpend(sum(row.nusd for row in in_period), sum(row.revision for row in in_period))
