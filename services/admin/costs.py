"""`/admin/costs`: what models cost. A version never changes; a new one takes over from it."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from libs.common.domain.money import plain
from libs.common.domain.pricing import find_price, model_names
from libs.common.errors import FieldError, ValidationFailed
from libs.common.schemas.price import PriceVersion, Rates, Tier
from libs.common.storage.price_map import MapModel, PriceMap
from libs.common.web.json import json_response
from services.admin.clock import to_utc_ms
from services.admin.decoding import Rule, query_struct, read_struct
from services.admin.fields import Aliases, Model, OutputLimit, Provider, Rate, Time, TokenCount
from services.admin.paging import Paging
from services.admin.state import State

# The fields of requests and answers, and the rates they stand for.
_RATES = {
    "input_cost_per_million": "input",
    "output_cost_per_million": "output",
    "cached_read_cost_per_million": "cache_read",
    "cache_write_cost_per_million": "cache_write_5m",
    "cache_write_1h_cost_per_million": "cache_write_1h",
    "reasoning_cost_per_million": "reasoning",
    "input_audio_cost_per_million": "input_audio",
    "input_image_cost_per_million": "input_image",
    "output_audio_cost_per_million": "output_audio",
    "output_image_cost_per_million": "output_image",
}


class RatesBody(msgspec.Struct, frozen=True, kw_only=True):
    """USD per million tokens. An absent rate falls back to a related one; 0 is free."""

    input_cost_per_million: Rate
    output_cost_per_million: Rate
    cached_read_cost_per_million: Rate | None = None
    cache_write_cost_per_million: Rate | None = None
    cache_write_1h_cost_per_million: Rate | None = None
    reasoning_cost_per_million: Rate | None = None
    input_audio_cost_per_million: Rate | None = None
    input_image_cost_per_million: Rate | None = None
    output_audio_cost_per_million: Rate | None = None
    output_image_cost_per_million: Rate | None = None


class TierBody(RatesBody, frozen=True, kw_only=True):
    above_input_tokens: TokenCount
    service_tier: Model | None = None


def _tiers_problem(tiers: tuple[TierBody, ...], _: datetime) -> str | None:
    conditions = [(tier.above_input_tokens, tier.service_tier) for tier in tiers]
    if (0, None) in conditions:
        return "a tier without a service_tier needs above_input_tokens above 0"
    if len(set(conditions)) < len(conditions):
        return "two tiers apply under the same condition"
    return None


class NewCost(RatesBody, frozen=True, kw_only=True):
    """Without `effective_from`, a version is in force from now on."""

    model: Model
    provider: Provider = "*"
    aliases: Aliases = ()
    web_search_cost: Rate | None = None
    max_output_tokens: OutputLimit | None = None
    effective_from: Time | None = None
    tiers: Annotated[tuple[TierBody, ...], Rule(_tiers_problem)] = ()


class CostQuery(Paging, frozen=True, kw_only=True):
    model: Model | UnsetType = UNSET


async def create_cost(request: Request[State]) -> Response:
    state = request.state
    now = state["now"]()
    body = await read_struct(request, NewCost, now)
    if body.model in body.aliases:
        raise ValidationFailed([FieldError("aliases", "repeats the model's own name")])
    version = PriceVersion(
        price_id=f"price_{state['new_id']()}",
        model=body.model,
        provider=body.provider,
        aliases=body.aliases,
        effective_from=now if body.effective_from is None else to_utc_ms(body.effective_from),
        rates=_rates(body),
        tiers=tuple(
            Tier(
                rates=_rates(tier),
                above_input_tokens=tier.above_input_tokens,
                service_tier=tier.service_tier,
            )
            for tier in body.tiers
        ),
        web_search=_plain(body.web_search_cost),
        max_output_tokens=body.max_output_tokens,
        created_at=now,
    )
    await state["prices"].insert(version)
    headers = await state["announcer"].announce("price", [version.model, *version.aliases])
    return json_response(_view(version), status=201, headers=headers)


async def list_costs(request: Request[State]) -> Response:
    """All admin versions; of one model also LiteLLM's price, and which of them is in force."""
    state = request.state
    now = state["now"]()
    query = query_struct(request, CostQuery, now)
    if query.model is UNSET:
        fetched = await state["prices"].list(after=query.after, limit=query.fetch)
        views = [_view(version) for version in query.page(fetched)]
        return json_response(query.answer(fetched, views, "price_id"))
    imported = _imported(state["price_map"], query.model)
    names = {query.model}
    if imported is not None:
        names.update(model_names(imported.provider, query.model))
    versions = await state["prices"].versions_of(names)
    in_force = _in_force(versions, imported, query.model, now)
    versions += [imported.price] if imported is not None else []
    fetched = _after(versions, query.after)[: query.fetch]
    views = [{**_view(v), "in_force": v.price_id in in_force} for v in query.page(fetched)]
    return json_response(query.answer(fetched, views, "price_id"))


def _imported(price_map: PriceMap, model: str) -> MapModel | None:
    """LiteLLM's price, where the model is named as the map does or qualified by its provider."""
    found = price_map.get(model)
    if found is None and "/" in model:
        provider, _, name = model.partition("/")
        found = price_map.find(provider, name)
    return found


def _in_force(
    versions: Sequence[PriceVersion], imported: MapModel | None, model: str, now: datetime
) -> set[str]:
    """The ids of the versions that a call made now would be priced by, one for each provider."""
    providers = {version.provider for version in versions} | {"*"}
    if imported is not None:
        providers.add(imported.provider)
    found: set[str] = set()
    for provider in providers:
        price = find_price(versions, provider, model, now)
        if price is not None:
            found.add(price.price_id)
        elif imported is not None and imported.provider == provider:
            found.add(imported.price.price_id)
    return found


def _after(versions: list[PriceVersion], price_id: str | None) -> list[PriceVersion]:
    """Those that follow the one named; all of them where it is not among them."""
    for place, version in enumerate(versions):
        if version.price_id == price_id:
            return versions[place + 1 :]
    return versions


def _rates(body: RatesBody) -> Rates:
    given = {rate: _plain(getattr(body, field)) for field, rate in _RATES.items()}
    return msgspec.convert(given, Rates)


def _plain(rate: Decimal | None) -> Decimal | None:
    return None if rate is None else plain(rate)


def _view(version: PriceVersion) -> dict[str, Any]:
    return {
        "price_id": version.price_id,
        "model": version.model,
        "provider": version.provider,
        "aliases": version.aliases,
        "source": version.source,
        **_rates_view(version.rates),
        "web_search_cost": version.web_search,
        "max_output_tokens": version.max_output_tokens,
        "tiers": [
            {
                "above_input_tokens": tier.above_input_tokens,
                "service_tier": tier.service_tier,
                **_rates_view(tier.rates),
            }
            for tier in version.tiers
        ],
        "effective_from": version.effective_from,
        "created_at": version.created_at,
    }


def _rates_view(rates: Rates) -> dict[str, Decimal | None]:
    return {field: getattr(rates, rate) for field, rate in _RATES.items()}
