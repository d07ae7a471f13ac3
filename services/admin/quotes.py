"""`/admin/costs/quote`: the cost of a given usage, line by line."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from libs.common.domain.money import nusd_to_usd
from libs.common.domain.posting import MAX_COUNT, Unpostable, bounded_cost
from libs.common.domain.served_terms import surcharges_for, tier_for
from libs.common.errors import FieldError, NotFound, ValidationFailed
from libs.common.schemas.price import AT_COST
from libs.common.schemas.usage import TokenUsage
from libs.common.web.json import json_response
from services.admin.accounts import find_account
from services.admin.bundled_prices import mapped
from services.admin.cost_bodies import cost_view, rates_view
from services.admin.fields import Model, Multiplier, Provider, Time, UserId
from services.admin.state import State
from services.admin.usage import line_view
from services.admin.validation import read_struct

_Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]


class UsageBody(msgspec.Struct, frozen=True, kw_only=True):
    """As an entry shows it: classes that do not overlap, and how the call was served."""

    input_text: _Count | None = None
    cache_read: _Count | None = None
    cache_write_5m: _Count | None = None
    cache_write_1h: _Count | None = None
    input_audio: _Count | None = None
    input_image: _Count | None = None
    output_text: _Count | None = None
    reasoning: _Count | None = None
    output_audio: _Count | None = None
    output_image: _Count | None = None
    web_searches: _Count | None = None
    service_tier: Model | None = None
    speed: Model | None = None
    inference_geo: Model | None = None


class QuoteBody(msgspec.Struct, frozen=True, kw_only=True):
    """`provider` defaults to that of the model's name, or of LiteLLM's map.

    `user_id` applies the multiplier of an account, `account_multiplier` any other.
    """

    model: Model
    usage: UsageBody
    provider: Provider | None = None
    at: Time | None = None
    user_id: UserId | None = None
    account_multiplier: Multiplier | None = None


async def quote(request: Request[State]) -> Response:
    state = request.state
    now = state["now"]()
    body = await read_struct(request, QuoteBody, now)
    at = now if body.at is None else body.at
    provider, model = _routed(state, body)
    price_at = await state["price_book"].of_models([(provider, model)])
    price = price_at((provider, model), at)
    if price is None:
        raise NotFound(f"'{provider}/{model}' has no price at that time.", param="model")
    multiplier = AT_COST if body.account_multiplier is None else body.account_multiplier
    if body.user_id is not None:
        if body.account_multiplier is not None:
            message = "cannot be given together with user_id"
            raise ValidationFailed([FieldError("account_multiplier", message)])
        multiplier = (await find_account(state, body.user_id)).price_multiplier
    usage = TokenUsage(**msgspec.structs.asdict(body.usage))
    cost = bounded_cost(usage, price, multiplier, at)
    if isinstance(cost, Unpostable):
        raise ValidationFailed([FieldError("usage", cost.reason)])
    tier = tier_for(price, usage, at=at)
    return json_response(
        {
            "provider": provider,
            "model": model,
            "at": at,
            "cost_usd": nusd_to_usd(cost.cost_nusd),
            "lines": [line_view(line) for line in cost.lines],
            "multiplier": cost.multiplier,
            "account_multiplier": multiplier,
            "rates": {
                "service_tier": None if tier is None else tier.service_tier,
                "above_input_tokens": 0 if tier is None else tier.above_input_tokens,
                **rates_view(price.rates if tier is None else tier.rates),
            },
            # Factors on the rates above; the lines include them.
            "surcharges": surcharges_for(price, usage),
            "price": cost_view(price),
        }
    )


def _routed(state: State, body: QuoteBody) -> tuple[str, str]:
    """The provider, and what it calls the model."""
    if body.provider is not None:
        return body.provider, body.model.removeprefix(f"{body.provider}/")
    found = mapped(state["price_map"], body.model)
    if found is not None:
        return found.provider, body.model.removeprefix(f"{found.provider}/")
    provider, slash, model = body.model.partition("/")
    return (provider, model) if slash else ("*", body.model)
