"""Prices entries again by the prices that are valid for them now."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import chain

import structlog

from libs.common.domain.corrections import priced_models, reprice_entry
from libs.common.domain.entries import Unpostable, bounded_cost, called_by
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.entries import EntryStore
from libs.common.storage.prices.price_book import PriceBook, prices_at

log = structlog.get_logger(__name__)


class Repricer:
    """Computes the corrections; the ledger worker posts them."""

    def __init__(self, entries: EntryStore, prices: PriceBook) -> None:
        self._entries = entries
        self._prices = prices

    async def corrections(
        self, entries: Sequence[LedgerEntry], *, reason: str, made_by: str, posted_at: datetime
    ) -> list[LedgerEntry]:
        """Of those entries that have another price now, for the moment in which they started.

        One that ran several models waits until all of them have one.
        """
        models = {entry.entry_id: found for entry in entries if (found := priced_models(entry))}
        if not models:
            return []
        price_at = await self._prices.of_models(chain.from_iterable(models.values()))
        earlier_corrections: defaultdict[str, list[LedgerEntry]] = defaultdict(list)
        modelled = [entry for entry in entries if entry.entry_id in models]
        for row in await self._entries.corrections_of(modelled):
            earlier_corrections[row.corrects or ""].append(row)
        corrections: list[LedgerEntry] = []
        for entry in entries:
            if entry.usage is None or entry.entry_id not in models:
                continue
            prices = prices_at(price_at, models[entry.entry_id], entry.started_at)
            call_cost = bounded_cost(entry.usage, called_by(entry), prices)
            if isinstance(call_cost, Unpostable):
                log.error("repricing.refused", entry_id=entry.entry_id, reason=call_cost.reason)
                continue
            if call_cost.unpriced:
                continue
            correction = reprice_entry(
                entry,
                earlier_corrections[entry.entry_id],
                (call_cost.price_id, call_cost.cost),
                reason=reason,
                made_by=made_by,
                posted_at=posted_at,
            )
            if correction is not None:
                corrections.append(correction)
        return corrections
