"""`/admin/costs/quote`: the cost of a given usage, line by line."""

from datetime import datetime
from decimal import Decimal
from itertools import chain
from typing import Annotated, Any

import msgspec
from starlette.requests import Request

from libs.common.domain.call_cost import models_of
from libs.common.domain.entries import Called, Prices, Unpostable, bounded_cost
from libs.common.domain.money import EXACT, nusd_to_usd
from libs.common.domain.served_terms import surcharges_for, tier_for
from libs.common.errors import FieldError, NotFound, ValidationFailed
from libs.common.schemas.entry import PriceNote
from libs.common.schemas.price import AT_COST
from libs.common.schemas.usage import ClientFormat, TokenUsage
from libs.common.storage.prices.price_book import prices_at
from services.admin.accounts import find_account
from services.admin.bundled_prices import mapped
from services.admin.cost_bodies import rates_view
from services.admin.cost_views import CostView, RatesView, cost_view
from services.admin.endpoints import Answer
from services.admin.entry_views import LineView, line_view
from services.admin.fields import Model, Provider, Time, UserId
from services.admin.price_fields import Multiplier
from services.admin.reported_usage import read_reported_usage, usage_view
from services.admin.state import State
from services.admin.validation import FieldRule

_MAX_MEMBERS = 128
# The subject of each note of a cost.
_NOTED: dict[PriceNote, str] = {
    "service_tier_unknown": "service_tier",
    "speed_unknown": "speed",
    "region_unknown": "inference_geo",
}
_MESSAGES: dict[PriceNote, str] = {
    "service_tier_unknown": "the price has no tier of this name: standard rates",
    "speed_unknown": "the price has no surcharge for this speed: rates as they are",
    "region_unknown": "the price has no surcharge for this region: rates as they are",
    "cache_write_rate_missing": "the rate of another kind of cache write",
    "tool_fee_missing": "a tool without a fee: it costs nothing here, and such calls are refused",
    "provider_cost_missing": "the usage has no cost reported by the provider: rates apply",
}


def _members(values: dict[str, msgspec.Raw], _: datetime) -> str | None:
    return f"has more than {_MAX_MEMBERS} members" if len(values) > _MAX_MEMBERS else None


class QuoteBody(msgspec.Struct, frozen=True, kw_only=True):
    """`usage` is a provider's own object, or classes as an entry shows them.

    Its convention is that of `format`; without one it is known by the names of its members.
    `service_tier` is the answer's own, which OpenAI tells beside the usage. `model` may be the
    public name of a route; otherwise `provider` defaults to that of the name, or of LiteLLM's map.
    `user_id` applies the multiplier of an account, `account_multiplier` any other.
    """

    model: Model
    usage: Annotated[dict[str, msgspec.Raw], FieldRule(_members)]
    format: ClientFormat | None = None
    service_tier: Model | None = None
    provider: Provider | None = None
    at: Time | None = None
    user_id: UserId | None = None
    account_multiplier: Multiplier | None = None


class _Target(msgspec.Struct, frozen=True, kw_only=True):
    """A model that would serve the call; `deployment_id` where a route names it.

    The others are as in a deployment, where the model costs other than it does elsewhere.
    """

    provider: str
    model: str
    deployment_id: str | None = None
    priced_as: str | None = None
    multiplier: Decimal = AT_COST
    region: str | None = None

    @property
    def price_name(self) -> str:
        return self.model if self.priced_as is None else self.priced_as


class DeploymentQuote(msgspec.Struct, frozen=True, kw_only=True):
    deployment_id: str
    provider: str
    model: str
    cost_usd: Decimal | None


class NoteView(msgspec.Struct, frozen=True, kw_only=True):
    """`value` is what the usage says that the price has no terms for."""

    note: PriceNote
    value: str | None
    message: str


class QuotedRates(RatesView, frozen=True, kw_only=True):
    """Of the tier that applies."""

    service_tier: str | None
    above_input_tokens: int


class QuoteView(msgspec.Struct, frozen=True, kw_only=True):
    """`surcharges` are factors on the `rates`, which the lines include.

    `unpriced` are other models that ran and have no price; `usage` is what was read.
    """

    provider: str
    model: str
    deployment_id: str | None
    priced_as: str | None
    at: datetime
    cost_usd: Decimal
    lines: tuple[LineView, ...]
    unpriced: tuple[str | None, ...]
    notes: tuple[NoteView, ...]
    multiplier: Decimal
    account_multiplier: Decimal
    deployment_multiplier: Decimal
    rates: QuotedRates
    surcharges: dict[str, Decimal]
    price: CostView
    usage: dict[str, Any]
    deployments: tuple[DeploymentQuote, ...] = ()


async def quote(request: Request[State], body: QuoteBody) -> Answer[QuoteView]:
    """Of a route, the deployment that is tried first; the others' costs follow."""
    state = request.state
    now = state["now"]()
    usage = read_reported_usage(body.usage, body.format, body.service_tier, now)
    at = now if body.at is None else body.at
    multiplier = await _multiplier(state, body)
    targets = await _targets(state, body)
    models = [
        [(s.provider, name) for name in {s.price_name, *models_of(usage, s.model, s.priced_as)}]
        for s in targets
    ]
    price_at = await state["price_book"].of_models(chain.from_iterable(models))
    quotes = [
        _quote(each, usage, prices_at(price_at, names, at), multiplier, at)
        for each, names in zip(targets, models, strict=True)
    ]
    found = next((each for each in quotes if each is not None), None)
    if found is None:
        provider, model = targets[0].provider, targets[0].model
        label = model if provider == "*" else f"{provider}/{model}"
        raise NotFound(f"'{label}' has no price at that time.", param="model")
    deployments = tuple(
        DeploymentQuote(
            deployment_id=each.deployment_id,
            provider=each.provider,
            model=each.model,
            cost_usd=None if costs is None else costs.cost_usd,
        )
        for each, costs in zip(targets, quotes, strict=True)
        if each.deployment_id is not None
    )
    return Answer(msgspec.structs.replace(found, deployments=deployments))


async def _multiplier(state: State, body: QuoteBody) -> Decimal:
    if body.user_id is None:
        return AT_COST if body.account_multiplier is None else body.account_multiplier
    if body.account_multiplier is not None:
        message = "cannot be given together with user_id"
        raise ValidationFailed([FieldError("account_multiplier", message)])
    return (await find_account(state, body.user_id)).price_multiplier


async def _targets(state: State, body: QuoteBody) -> list[_Target]:
    """In the order in which they are tried; among equals the likelier first."""
    if body.provider is not None:
        name = body.model.removeprefix(f"{body.provider}/")
        return [_Target(provider=body.provider, model=name)]
    route = await state["routes"].get(body.model)
    if route is not None:
        deployments = sorted(route.deployments, key=lambda each: (each.priority, -each.weight))
        return [
            _Target(
                provider=provider,
                model=model,
                deployment_id=each.deployment_id,
                priced_as=each.priced_as,
                multiplier=each.multiplier,
                region=each.region,
            )
            for each in deployments
            for provider, _, model in [each.model.partition("/")]
        ]
    row = mapped(state["price_map"], body.model)
    if row is not None:
        name = body.model.removeprefix(f"{row.provider}/")
        return [_Target(provider=row.provider, model=name)]
    provider, slash, model = body.model.partition("/")
    return [_Target(provider=provider, model=model) if slash else _bare(body.model)]


def _bare(model: str) -> _Target:
    return _Target(provider="openai" if model.startswith("ft:") else "*", model=model)


def _quote(
    target: _Target,
    usage: TokenUsage,
    prices: Prices,
    multiplier: Decimal,
    at: datetime,
) -> QuoteView | None:
    """None without a price; other models that ran and have none are `unpriced`."""
    reported = usage_view(usage)
    price = prices.get((target.provider, target.price_name))
    if price is None:
        return None
    if usage.inference_geo is None and target.region is not None:
        usage = msgspec.structs.replace(usage, inference_geo=target.region)
    called = Called(
        provider=target.provider,
        model=target.model,
        priced_as=target.priced_as,
        multiplier=EXACT.multiply(multiplier, target.multiplier),
        at=at,
    )
    priced = bounded_cost(usage, called, prices)
    if isinstance(priced, Unpostable):
        raise ValidationFailed([FieldError("usage", priced.reason)])
    cost = priced.cost
    tier = tier_for(price, usage, at=at)
    return QuoteView(
        provider=target.provider,
        model=target.model,
        deployment_id=target.deployment_id,
        priced_as=target.priced_as,
        at=at,
        cost_usd=nusd_to_usd(cost.cost_nusd),
        lines=tuple(map(line_view, cost.lines)),
        unpriced=tuple(priced.unpriced),
        notes=tuple(_note_view(note, usage) for note in cost.notes),
        multiplier=cost.multiplier,
        account_multiplier=multiplier,
        deployment_multiplier=target.multiplier,
        rates=QuotedRates(
            service_tier=None if tier is None else tier.service_tier,
            above_input_tokens=0 if tier is None else tier.above_input_tokens,
            **rates_view(price.rates if tier is None else tier.rates),
        ),
        surcharges=surcharges_for(price, usage),
        price=cost_view(price),
        usage=reported,
    )


def _note_view(note: PriceNote, usage: TokenUsage) -> NoteView:
    field = _NOTED.get(note)
    value = None if field is None else getattr(usage, field)
    return NoteView(note=note, value=value, message=_MESSAGES[note])
