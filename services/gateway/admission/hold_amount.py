"""How much a call is held for: what the dearest way to serve it may cost."""

from collections.abc import Iterable

import msgspec

from libs.common.domain.holds import hold_nusd
from libs.common.domain.money import MAX_NUSD
from libs.common.schemas.price import PriceVersion
from services.gateway.calls.call import Call
from services.gateway.formats.base import CallRequest
from services.gateway.formats.named_models import NamedModel


def hold_amount(call: Call, default_max_output_tokens: int) -> int:
    """Over the deployments that may serve the call, each with the models that the call names.

    A model that may answer in the place of the call's own counts where it is dearer; one beside it
    counts as often as it may be used, and as if it read the whole request each time.
    """
    request = call.request
    if request is None or not call.prices:
        raise AssertionError("a call is decoded and priced before it is admitted")
    limit = request.max_output_tokens
    if limit is None or limit < 1:
        # What is no limit is the provider's to refuse, or to take for none: some do with -1.
        limit = default_max_output_tokens
    amounts = []
    for deployment_id, price in call.prices.items():
        amount = _amount(call, request, price, limit * max(request.answers, 1))
        if request.models:
            priced = zip(request.models, call.prices_of_models[deployment_id], strict=True)
            amount = _with_models(call, request, amount, priced, limit)
        amounts.append(amount)
    return max(amounts)


def _with_models(
    call: Call,
    request: CallRequest,
    own_nusd: int,
    priced: Iterable[tuple[NamedModel, PriceVersion]],
    limit: int,
) -> int:
    dearest_nusd, beside_nusd = own_nusd, 0
    for model, price in priced:
        asked = request
        if model.fast:
            reach = msgspec.structs.replace(request.reach, fast=True)
            asked = msgspec.structs.replace(request, reach=reach)
        output = limit if model.max_tokens is None else model.max_tokens
        if model.instead:
            amount = _amount(call, asked, price, output * max(request.answers, 1))
            dearest_nusd = max(dearest_nusd, amount)
        else:
            beside_nusd += model.uses * _amount(call, asked, price, output)
    return min(dearest_nusd + beside_nusd, MAX_NUSD)


def _amount(call: Call, request: CallRequest, price: PriceVersion, output_tokens: int) -> int:
    answers = max(request.answers, 1)
    most = price.max_output_tokens
    return hold_nusd(
        price,
        call.account_multiplier,
        input_tokens=call.input_tokens,
        output_tokens=output_tokens if most is None else min(output_tokens, most * answers),
        service_tier=request.service_tier,
        reach=request.reach,
    )
