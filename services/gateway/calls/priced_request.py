"""A request that may be admitted: decoded, with a price for each deployment that may serve it."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import msgspec

from libs.common.domain.call_cost import cost_of_call, is_same_model
from libs.common.domain.pricing import cost_nusd
from libs.common.schemas.price import PriceVersion
from libs.common.schemas.usage import TokenUsage
from services.gateway.calls.target import Target
from services.gateway.formats.base import CallRequest


class PricedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`prices` are by deployment; `prices_of_models` too, in the order of the request's `models`.

    `continued_tokens` are those of `input_tokens` that a continued response or thread brings along.
    """

    request: CallRequest
    prices: Mapping[str, PriceVersion]
    prices_of_models: Mapping[str, tuple[PriceVersion, ...]] = {}
    input_tokens: int
    continued_tokens: int = 0

    def answered_by(self, model: str | None, usage: TokenUsage) -> TokenUsage:
        """The usage as that of the model that answered, where the request lets another do so.

        An answer's word counts only among the models that the request names.
        """
        if model is None or usage.model is not None:
            return usage
        for named_model in self.request.models:
            if named_model.instead and is_same_model(named_model.name, model):
                return msgspec.structs.replace(usage, model=named_model.name)
        return usage

    def cost_nusd(
        self, target: Target, usage: TokenUsage, multiplier: Decimal, at: datetime
    ) -> int:
        """The cost that the ledger will post, unless a new price applies by then."""
        price = self.prices.get(target.deployment_id)
        if price is None:
            return 0
        if not (usage.runs or usage.model or usage.unbilled):
            return cost_nusd(usage, price, multiplier, at=at)
        model_prices = self.prices_of_models.get(target.deployment_id, ())

        def price_of(model: str | None) -> PriceVersion:
            """The price of another model if the request named it; else the target's."""
            for named_model, model_price in zip(self.request.models, model_prices, strict=False):
                if model is not None and is_same_model(named_model.name, model):
                    return model_price
            return price

        return cost_of_call(usage, target.model, price_of, multiplier, at).cost.cost_nusd
