"""Finds the price of a call: an administrator's, else that of LiteLLM's bundled map."""

from collections.abc import Callable, Iterable
from datetime import datetime

from libs.common.domain.price_lookup import find_price, model_names
from libs.common.schemas.price import PriceVersion
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.prices.provider_fees import with_provider_fees

# (provider, model) of a routed call, and when it started.
PriceAt = Callable[[tuple[str, str], datetime], PriceVersion | None]


def prices_at(
    price_at: PriceAt, models: Iterable[tuple[str, str]], at: datetime
) -> dict[tuple[str, str], PriceVersion]:
    """Of those models that have a price then."""
    prices = {model: price_at(model, at) for model in models}
    return {model: price for model, price in prices.items() if price is not None}


class PriceBook:
    """Asks MongoDB every time: a price that was set a second ago must count."""

    def __init__(self, prices: PriceStore, price_map: PriceMap) -> None:
        self._prices = prices
        self._price_map = price_map

    async def of_models(self, models: Iterable[tuple[str, str]]) -> PriceAt:
        """The prices of these models, as pairs of provider and model."""
        distinct = set(models)
        names = {name for model in distinct for name in model_names(*model)}
        versions = await self._prices.candidates(names) if names else []
        mapped = {model: self._price_map.find(*model) for model in distinct}

        def price_at(model: tuple[str, str], at: datetime) -> PriceVersion | None:
            set_price = find_price(versions, *model, at)
            if set_price is not None:
                return with_provider_fees(set_price, *model)
            map_model = mapped[model]
            return None if map_model is None else map_model.price

        return price_at
