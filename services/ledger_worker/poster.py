"""Posts the events of many jobs in few transactions, so that a busy account never waits for itself.

Everything here may be repeated: an entry that exists is skipped, and a hold that is released stays
released. So whatever fails halfway is simply tried again, from the start.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from time import monotonic

import structlog

from libs.common.domain.periods import days_of, period_key, zone_of
from libs.common.domain.posting import Unpostable, billed_model, entry_of
from libs.common.domain.pricing import find_price, model_names
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.price import PriceVersion
from libs.common.schemas.usage import UsageEvent
from libs.common.storage.accounts import AccountStore
from libs.common.storage.holds import HoldStore, Spent
from libs.common.storage.keys import KeyStore
from libs.common.storage.ledger import EntriesRefused, LedgerStore, UnknownAccounts
from libs.common.storage.mongo import Session
from libs.common.storage.price_map import PriceMap
from libs.common.storage.prices import PriceStore
from libs.common.storage.redis import RedisError
from services.ledger_worker.metrics import Metrics

MAX_EVENTS_PER_TRANSACTION = 500
# Accounts settled at a time: each waits for Redis' append-only file, and takes a connection.
_SETTLED_AT_ONCE = 16

# An Unpostable is final. EntriesRefused may yet pass, once MongoDB has been mended; a RedisError
# says that the entry is posted but its hold not released.
Failure = Unpostable | EntriesRefused | RedisError
# By call_id.
Failures = Mapping[str, Failure]

_log = structlog.get_logger(__name__)


class Poster:
    """The write side of the worker's group commit: one write at a time, all in one session."""

    def __init__(
        self,
        *,
        ledger: LedgerStore,
        session: Session,
        prices: PriceStore,
        price_map: PriceMap,
        holds: HoldStore,
        keys: KeyStore,
        accounts: AccountStore,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._prices = prices
        self._price_map = price_map
        self._holds = holds
        self._keys = keys
        self._accounts = accounts
        self._metrics = metrics
        self._now = now

    async def write(self, batches: Sequence[Sequence[UsageEvent]]) -> list[Failures]:
        """Posts accepted events and settles their accounts; for each batch, what could not be.

        Raises what MongoDB and Redis raise while they are away: then all of it is to be repeated.
        """
        events = [event for batch in batches for event in batch]
        failures: dict[str, Failure] = {}
        for start in range(0, len(events), MAX_EVENTS_PER_TRANSACTION):
            failures |= await self._post(events[start : start + MAX_EVENTS_PER_TRANSACTION])
        return [failures] * len(batches)

    async def _post(self, events: Sequence[UsageEvent]) -> Failures:
        began = monotonic()
        entries, unpostable = await self._entries(events)
        failures = {**unpostable, **await self._commit(entries)}
        posted = [entry for entry in entries if entry.entry_id not in failures]
        unsettled = await self._settle(posted)
        self._metrics.batch_size.observe(len(events))
        self._metrics.post_seconds.observe(monotonic() - began)
        return {**failures, **unsettled}

    async def _entries(
        self, events: Sequence[UsageEvent]
    ) -> tuple[list[LedgerEntry], dict[str, Unpostable]]:
        price_of = await self._prices_for(events)
        posted_at = self._now()
        entries: list[LedgerEntry] = []
        unpostable: dict[str, Unpostable] = {}
        for event in events:
            match entry_of(event, price_of(event), posted_at):
                case LedgerEntry() as entry:
                    entries.append(entry)
                case Unpostable() as fault:
                    unpostable[event.call_id] = fault
        self._report_unpriced(entries)
        return entries, unpostable

    async def _prices_for(
        self, events: Sequence[UsageEvent]
    ) -> Callable[[UsageEvent], PriceVersion | None]:
        """Asks MongoDB every time: a price that was set a second ago must count."""
        models = {model for event in events if (model := billed_model(event)) is not None}
        names = {name for model in models for name in model_names(*model)}
        versions = await self._prices.versions_of(names) if names else []
        mapped = {model: self._price_map.find(*model) for model in models}

        def price_of(event: UsageEvent) -> PriceVersion | None:
            model = billed_model(event)
            if model is None:
                return None
            set_price = find_price(versions, *model, event.started_at)
            if set_price is not None:
                return set_price
            found = mapped[model]
            return None if found is None else found.price

        return price_of

    async def _commit(self, entries: Sequence[LedgerEntry]) -> Failures:
        """One transaction; where it is refused, halves of it, until those at fault stand alone."""
        if not entries:
            return {}
        try:
            posted = await self._ledger.post(entries, self._session)
        except UnknownAccounts as error:
            known = [entry for entry in entries if entry.user_id not in error.user_ids]
            unknown: dict[str, Failure] = {
                entry.entry_id: Unpostable(f"there is no account '{entry.user_id}'")
                for entry in entries
                if entry.user_id in error.user_ids
            }
            return {**unknown, **await self._commit(known)}
        except EntriesRefused as error:
            if len(entries) == 1:
                failure: Failure = Unpostable(str(error)) if error.at_fault else error
                return {entries[0].entry_id: failure}
            middle = len(entries) // 2
            first = await self._commit(entries[:middle])
            return {**first, **await self._commit(entries[middle:])}
        self._metrics.posted.inc(posted)
        self._metrics.skipped.inc(len(entries) - posted)
        return {}

    async def _settle(self, entries: Sequence[LedgerEntry]) -> Failures:
        """Also for entries that had been posted before: their worker may have died before this.

        An account that Redis has trouble with keeps back its own calls only.
        """
        call_ids: defaultdict[str, list[str]] = defaultdict(list)
        periods: set[str] = set()
        for entry in entries:
            call_ids[entry.user_id].append(entry.entry_id)
            periods.update(entry.periods)
        users = sorted(call_ids)
        spent: defaultdict[str, list[Spent]] = defaultdict(list)
        amounts = await self._ledger.spend_of_many(users, sorted(periods)) if users else {}
        for (user_id, period), nusd in amounts.items():
            spent[user_id].append(Spent(period=period, nusd=nusd))
        for user_id, row in await self._spent_by_keys(entries):
            spent[user_id].append(row)
        failures: dict[str, Failure] = {}
        for start in range(0, len(users), _SETTLED_AT_ONCE):
            some = users[start : start + _SETTLED_AT_ONCE]
            errors = await asyncio.gather(
                *(self._settle_one(user_id, call_ids[user_id], spent[user_id]) for user_id in some)
            )
            for user_id, error in zip(some, errors, strict=True):
                if error is not None:
                    failures |= dict.fromkeys(call_ids[user_id], error)
        return failures

    async def _spent_by_keys(self, entries: Sequence[LedgerEntry]) -> list[tuple[str, Spent]]:
        """By user_id, for keys with budgets of their own, in the periods of those entries."""
        budgeted = await self._keys.budgeted({entry.key_id for entry in entries})
        zones: dict[str, str] = {}
        for user_id in {key.user_id for key in budgeted}:
            account = await self._accounts.get(user_id)
            zones[user_id] = "UTC" if account is None else account.time_zone
        rows: dict[tuple[str, str], tuple[str, Spent]] = {}
        for key in budgeted:
            zone = zone_of(zones[key.user_id])
            for at in {entry.started_at for entry in entries if entry.key_id == key.key_id}:
                for budget in key.budgets:
                    period = period_key(budget.period, at, zone)
                    if (key.key_id, period) in rows:
                        continue
                    days = days_of(budget.period, at, zone)
                    nusd = await self._ledger.spend_of_key(key.user_id, key.key_id, days)
                    spent = Spent(key_id=key.key_id, period=period, nusd=nusd)
                    rows[key.key_id, period] = (key.user_id, spent)
        return list(rows.values())

    async def _settle_one(
        self, user_id: str, call_ids: Sequence[str], spent: Sequence[Spent]
    ) -> RedisError | None:
        try:
            await self._holds.settle(user_id, call_ids, spent)
        except RedisError as error:
            return error
        return None

    def _report_unpriced(self, entries: Sequence[LedgerEntry]) -> None:
        unpriced = [entry for entry in entries if entry.status == "unpriced"]
        self._metrics.unpriced.inc(len(unpriced))
        for (provider, model), calls in Counter((e.provider, e.model) for e in unpriced).items():
            _log.warning("calls without a price", provider=provider, model=model, calls=calls)
