"""Posts the events of many jobs in few transactions, so that a busy account does not block itself.

Every step is idempotent: an existing entry is skipped, and a released hold stays released. A write
that fails halfway is retried from the start.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from random import randrange
from time import monotonic

import msgspec
import structlog

from libs.common.domain.entries import Unpostable, billed_models, entry_of, unpriced_models
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import UsageEvent
from libs.common.storage.mongo.driver import Document, Session
from libs.common.storage.mongo.ledger import EntriesRefused, LedgerStore, UnknownAccounts
from libs.common.storage.mongo.sharding import ONE_ZONE, Zones
from libs.common.storage.prices.price_book import PriceBook, prices_at
from libs.common.storage.redis.client import RedisError
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.settler import Settler

MAX_EVENTS_PER_TRANSACTION = 500
# Entries that MongoDB rejects one by one, after which it would reject all others too.
_ENOUGH = 8

# Unpostable is final. EntriesRefused may pass once MongoDB is repaired. After RedisError the entry
# is posted but its hold is not released.
PostingFailure = Unpostable | EntriesRefused | RedisError
# Gets the entries that were added. It neither waits nor fails.
Observer = Callable[[Sequence[LedgerEntry]], None]
# By call_id.
Failures = Mapping[str, PostingFailure]

log = structlog.get_logger(__name__)


class _PostedShare(msgspec.Struct, frozen=True):
    """A share of the events whose posting is committed; it is to be settled."""

    began: float
    entries: Sequence[LedgerEntry]
    failures: Failures
    accounts: Mapping[str, Document]


class Poster:
    """The writer of the worker's group commit: one write at a time, all in one session.

    A transaction is settled while the next one is under way.
    """

    def __init__(
        self,
        *,
        ledger: LedgerStore,
        session: Session,
        prices: PriceBook,
        settler: Settler,
        metrics: Metrics,
        observers: Sequence[Observer] = (),
        now: Callable[[], datetime],
        any_of: Callable[[int], int] = randrange,
        zones: Zones = ONE_ZONE,
        wait_for_room: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._prices = prices
        self._settler = settler
        self._metrics = metrics
        self._observers = observers
        self._now = now
        self._any_of = any_of
        self._zones = zones
        self._wait_for_room = wait_for_room

    async def write(self, batches: Sequence[Sequence[UsageEvent]]) -> list[Failures]:
        """Posts accepted events and settles their accounts. Returns the failures of each batch.

        Raises the errors of MongoDB and Redis while they are unavailable: retry all batches then.
        """
        failures: dict[str, PostingFailure] = {}
        settling: asyncio.Task[Failures] | None = None
        try:
            for events in self._split([event for batch in batches for event in batch]):
                if self._wait_for_room is not None:
                    await self._wait_for_room()
                share = await self._post(events)
                failures |= share.failures
                if settling is not None:
                    failures |= await settling
                settling = asyncio.create_task(self._settle(share))
        finally:
            if settling is not None:
                failures |= await settling
        return [failures] * len(batches)

    def _split(self, events: list[UsageEvent]) -> list[list[UsageEvent]]:
        """Splits the events into transactions.

        Each transaction has as few accounts as possible, because an account takes as many updates
        for one event as for a hundred. Workers with a backlog of the same accounts start at random
        transactions, because two workers cannot post to one account at a time.
        """
        shares = list(chain.from_iterable(map(_shares, self._by_zone(events))))
        first = self._any_of(len(shares))
        return shares[first:] + shares[:first]

    def _by_zone(self, events: list[UsageEvent]) -> Iterable[list[UsageEvent]]:
        """So that a transaction has accounts of one shard alone, where there are shards."""
        by_zone: defaultdict[int, list[UsageEvent]] = defaultdict(list)
        for event in events:
            by_zone[self._zones.of(event.user_id)].append(event)
        return by_zone.values()

    async def _post(self, events: Sequence[UsageEvent]) -> _PostedShare:
        began = monotonic()
        entries, unpostable = await self._entries(events)
        accounts: dict[str, Document] = {}
        failures = {**unpostable, **await self._commit(entries, accounts)}
        self._metrics.batch_size.observe(len(events))
        return _PostedShare(began, entries, failures, accounts)

    async def _settle(self, share: _PostedShare) -> Failures:
        posted = [entry for entry in share.entries if entry.entry_id not in share.failures]
        unsettled = await self._settler.settle(posted, share.accounts)
        self._metrics.post_seconds.observe(monotonic() - share.began)
        return unsettled

    async def _entries(
        self, events: Sequence[UsageEvent]
    ) -> tuple[list[LedgerEntry], dict[str, Unpostable]]:
        models = [billed_models(event) for event in events]
        price_at = await self._prices.of_models(chain.from_iterable(models))
        posted_at = self._now()
        entries: list[LedgerEntry] = []
        unpostable: dict[str, Unpostable] = {}
        for event, event_models in zip(events, models, strict=True):
            prices = prices_at(price_at, event_models, event.started_at)
            match entry_of(event, prices, posted_at):
                case LedgerEntry() as entry:
                    entries.append(entry)
                case Unpostable() as fault:
                    unpostable[event.call_id] = fault
        self._report_unpriced(entries)
        return entries, unpostable

    async def _commit(
        self, entries: Sequence[LedgerEntry], accounts: dict[str, Document]
    ) -> Failures:
        """One transaction; if MongoDB rejects it, its halves, down to single entries.

        Where the reason may concern no entry, a few rejected ones stand for the rest. `accounts`
        receives those of each transaction, a later one in place of an earlier.
        """
        if not entries:
            return {}
        try:
            posting = await self._ledger.add(entries, self._session)
        except UnknownAccounts as error:
            known = [entry for entry in entries if entry.user_id not in error.user_ids]
            unknown: dict[str, PostingFailure] = {
                entry.entry_id: Unpostable(f"there is no account '{entry.user_id}'")
                for entry in entries
                if entry.user_id in error.user_ids
            }
            return {**unknown, **await self._commit(known, accounts)}
        except EntriesRefused as error:
            if len(entries) == 1:
                failure: PostingFailure = Unpostable(str(error)) if error.at_fault else error
                return {entries[0].entry_id: failure}
            middle = len(entries) // 2
            first = await self._commit(entries[:middle], accounts)
            if not error.at_fault and len(first) == middle >= _ENOUGH:
                return {**first, **{entry.entry_id: error for entry in entries[middle:]}}
            return {**first, **await self._commit(entries[middle:], accounts)}
        accounts |= posting.accounts
        self._metrics.posted.inc(len(posting.entries))
        self._metrics.skipped.inc(len(entries) - len(posting.entries))
        self._metrics.calls.count(posting.entries)
        for observe in self._observers:
            observe(posting.entries)
        return {}

    def _report_unpriced(self, entries: Sequence[LedgerEntry]) -> None:
        unpriced = [entry for entry in entries if entry.status == "unpriced"]
        self._metrics.unpriced.inc(len(unpriced))
        models = Counter(model for entry in unpriced for model in unpriced_models(entry))
        for (provider, model), calls in models.items():
            log.warning("calls.unpriced", provider=provider, model=model, calls=calls)


def _shares(events: list[UsageEvent]) -> Iterable[list[UsageEvent]]:
    if len(events) <= MAX_EVENTS_PER_TRANSACTION:
        return [events]
    by_account = sorted(events, key=lambda event: event.user_id)
    starts = range(0, len(events), MAX_EVENTS_PER_TRANSACTION)
    return [by_account[start : start + MAX_EVENTS_PER_TRANSACTION] for start in starts]
