"""Applies a deployment's own factors to its model's price."""

import msgspec

from libs.common.domain.money import EXACT
from libs.common.domain.served_terms import regional_surcharges
from libs.common.schemas.price import AT_COST, PriceVersion
from services.gateway.calls.target import Target

_MAX_KEPT = 1_000


class DeploymentPrices:
    """Returns the same object for the same input, because callers cache by a price's identity."""

    def __init__(self) -> None:
        self._cache: dict[tuple[str, str], tuple[Target, PriceVersion, PriceVersion]] = {}

    def price_at(self, target: Target, price: PriceVersion) -> PriceVersion:
        """For hold and charge in the gateway; the ledger gets the factors with the event."""
        if target.multiplier == AT_COST and (target.region is None or not price.surcharges):
            return price
        key = (target.deployment_id, price.price_id)
        entry = self._cache.get(key)
        if entry is None or entry[0] is not target or entry[1] is not price:
            if len(self._cache) >= _MAX_KEPT:
                self._cache.clear()
            entry = self._cache[key] = (target, price, _priced(target, price))
        return entry[2]


def _priced(target: Target, price: PriceVersion) -> PriceVersion:
    surcharges = price.surcharges
    if target.region is not None:
        surcharges = regional_surcharges(surcharges, target.region)
    multiplier = EXACT.multiply(price.multiplier, target.multiplier)
    return msgspec.structs.replace(price, multiplier=multiplier, surcharges=surcharges)
