"""How much a call is held for: what the dearest way to serve it may cost."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from libs.common.domain.holds import DearestRates, dearest_rates, hold_at
from libs.common.domain.money import MAX_NUSD
from libs.common.schemas.price import PriceVersion
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.formats.base import CallRequest

_MAX_KEPT = 1_000
# Rates are kept for these; any other word is a client's own, and not worth keeping.
_USUAL_TIERS = frozenset(
    {None, "auto", "default", "standard", "standard_only", "priority", "fast", "flex", "ultrafast"}
)
_rates_cache: dict[tuple[str | bool | None, ...], tuple[PriceVersion, DearestRates]] = {}


def hold_amount(
    priced: PricedRequest, account_multiplier: Decimal, default_max_output_tokens: int
) -> int:
    """Over the deployments that may serve the call, each with the models that the call names.

    A model that may answer in the place of the call's own counts where it is dearer; one beside it
    counts as often as it may be used, and as if it read the whole request each time. So does the
    one that answers, where it may have to shorten its context first.
    """
    request = priced.request
    limit = request.max_output_tokens
    if limit is None or limit < 1:
        # A value below 1 is not a limit. The provider may reject it or, as some do with -1, treat
        # it as unlimited; hold for the default.
        limit = default_max_output_tokens
    output_tokens = limit * max(request.answers, 1)
    amounts = []
    for deployment_id, price in priced.prices.items():
        amount = _amount(priced, account_multiplier, request, price, output_tokens)
        beside_nusd = 0
        if request.models:
            prices = priced.prices_of_models[deployment_id]
            limit_beside = max(limit, default_max_output_tokens)
            amount, beside_nusd = _with_models(
                priced, account_multiplier, amount, prices, limit, limit_beside
            )
        if request.compacts:
            # Whichever model answers shortens the context.
            amount *= 2
        amounts.append(min(amount + beside_nusd, MAX_NUSD))
    return max(amounts)


def _with_models(
    priced: PricedRequest,
    account_multiplier: Decimal,
    own_nusd: int,
    prices: Sequence[PriceVersion],
    limit: int,
    limit_beside: int,
) -> tuple[int, int]:
    """For the dearest model that may answer, and for those beside it.

    The call's own limit does not bind models beside it, which may have one of theirs.
    """
    request = priced.request
    dearest_nusd, beside_nusd = own_nusd, 0
    for model, price in zip(request.models, prices, strict=True):
        model_request = request
        if model.fast:
            features = msgspec.structs.replace(request.features, fast=True)
            model_request = msgspec.structs.replace(request, features=features)
        output = model.max_tokens
        if output is None:
            output = limit if model.instead else limit_beside
        if model.instead:
            output *= max(request.answers, 1)
        amount = _amount(priced, account_multiplier, model_request, price, output)
        if model.instead:
            dearest_nusd = max(dearest_nusd, amount)
        else:
            beside_nusd += model.uses * amount
    return dearest_nusd, beside_nusd


def _amount(
    priced: PricedRequest,
    account_multiplier: Decimal,
    request: CallRequest,
    price: PriceVersion,
    output_tokens: int,
) -> int:
    model_limit = price.max_output_tokens
    if model_limit is not None:
        output_tokens = min(output_tokens, model_limit * max(request.answers, 1))
    return hold_at(
        _dearest_rates(price, request),
        price,
        account_multiplier,
        input_tokens=priced.input_tokens,
        output_tokens=output_tokens,
        tools=request.features.tools,
    )


def _dearest_rates(price: PriceVersion, request: CallRequest) -> DearestRates:
    """Kept, since they take longer to find than to use; of the same price object alone."""
    if request.service_tier not in _USUAL_TIERS:
        return dearest_rates(price, request.service_tier, request.features)
    features = request.features
    key = (
        price.price_id,
        request.service_tier,
        features.cache_writes,
        features.long_writes,
        features.audio_input,
        features.audio_output,
        features.fast,
    )
    entry = _rates_cache.get(key)
    if entry is None or entry[0] is not price:
        if len(_rates_cache) >= _MAX_KEPT:
            _rates_cache.clear()
        entry = _rates_cache[key] = (
            price,
            dearest_rates(price, request.service_tier, features),
        )
    return entry[1]
