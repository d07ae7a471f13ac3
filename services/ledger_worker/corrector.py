"""Posts corrections: orders of the admin service, and prices set after their calls."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog

from libs.common.domain.corrections import correction_entry
from libs.common.domain.entries import Unpostable, whole_ms
from libs.common.domain.periods import period_keys, zone_of
from libs.common.repricer import Repricer
from libs.common.schemas.correction import CorrectionOrder
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Session
from libs.common.storage.mongo.entries import EntryStore
from libs.common.storage.mongo.ledger import EntriesRefused, LedgerStore, UnknownAccounts
from libs.common.storage.prices.price_book import PriceBook
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.settler import Settler

log = structlog.get_logger(__name__)


class Corrector:
    """One transaction at a time, in a session of its own. Every method is idempotent."""

    def __init__(
        self,
        *,
        ledger: LedgerStore,
        entries: EntryStore,
        accounts: AccountStore,
        prices: PriceBook,
        settler: Settler,
        session: Session,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._entries = entries
        self._accounts = accounts
        self._repricer = Repricer(entries, prices)
        self._settler = settler
        self._session = session
        self._metrics = metrics
        self._now = now
        self._turn = asyncio.Lock()

    async def correct(self, order: CorrectionOrder) -> Unpostable | None:
        """Returns why the order can never be posted; None once it is posted."""
        original = None
        if order.corrects is not None:
            original = await self._entries.get(order.corrects)
        account = await self._accounts.get(order.user_id)
        if account is None:
            return Unpostable(f"there is no account '{order.user_id}'")
        entry = correction_entry(
            order,
            original,
            periods=period_keys(order.at.astimezone(UTC), zone_of(account.time_zone)),
            time_zone=account.time_zone,
            posted_at=whole_ms(self._now()),
        )
        if isinstance(entry, Unpostable):
            return entry
        refused = await self._post([entry])
        return Unpostable(str(refused[0])) if refused else None

    async def reprice(self, entry_ids: Sequence[str], *, reason: str, made_by: str) -> int:
        """Returns how many of the entries were corrected."""
        corrections = await self._repricer.corrections(
            await self._entries.get_many(entry_ids),
            reason=reason,
            made_by=made_by,
            posted_at=whole_ms(self._now()),
        )
        refused = await self._post(corrections)
        for error in refused:
            log.error("repricing.refused", error=error)
        return len(corrections) - len(refused)

    async def _post(self, entries: Sequence[LedgerEntry]) -> list[Exception]:
        """Returns an error for each entry that can never be posted, found by halving.

        Raises the errors that a retry may pass, among them RedisError: posted but not settled.
        """
        if not entries:
            return []
        try:
            async with self._turn:
                posting = await self._ledger.add(entries, self._session)
        except (EntriesRefused, UnknownAccounts) as error:
            if isinstance(error, EntriesRefused) and not error.at_fault:
                raise
            if len(entries) == 1:
                return [error]
            middle = len(entries) // 2
            return [*await self._post(entries[:middle]), *await self._post(entries[middle:])]
        self._metrics.corrections.inc(len(posting.entries))
        for failure in (await self._settler.settle(entries, posting.accounts)).values():
            raise failure
        return []
