"""What entries would cost by the prices that are valid for them now."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import structlog

from libs.common.domain.corrections import priced_model, reprice_entry
from libs.common.domain.money import EXACT
from libs.common.domain.posting import Unpostable, bounded_cost
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.entries import EntryStore
from libs.common.storage.prices.price_book import PriceBook

log = structlog.get_logger(__name__)


class Repricer:
    """Says what to post; the ledger worker posts it."""

    def __init__(self, entries: EntryStore, prices: PriceBook) -> None:
        self._entries = entries
        self._prices = prices

    async def corrections(
        self, entries: Sequence[LedgerEntry], *, reason: str, made_by: str, posted_at: datetime
    ) -> list[LedgerEntry]:
        """Of those entries that have another price now, for the moment in which they started."""
        models = {entry.entry_id: model for entry in entries if (model := priced_model(entry))}
        if not models:
            return []
        price_at = await self._prices.of_models(models.values())
        earlier: defaultdict[str, list[LedgerEntry]] = defaultdict(list)
        for row in await self._entries.corrections_of(list(models)):
            earlier[row.corrects or ""].append(row)
        corrections: list[LedgerEntry] = []
        for entry in entries:
            model = models.get(entry.entry_id)
            price = None if model is None else price_at(model, entry.started_at)
            if price is None or entry.usage is None:
                continue
            multiplier = EXACT.multiply(entry.account_multiplier, entry.deployment_multiplier)
            cost = bounded_cost(entry.usage, price, multiplier, entry.started_at)
            if isinstance(cost, Unpostable):
                log.error("repricing.refused", entry_id=entry.entry_id, reason=cost.reason)
                continue
            correction = reprice_entry(
                entry,
                earlier[entry.entry_id],
                (price.price_id, cost),
                reason=reason,
                made_by=made_by,
                posted_at=posted_at,
            )
            if correction is not None:
                corrections.append(correction)
        return corrections
