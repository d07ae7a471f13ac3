"""How requests and answers write prices."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from libs.common.domain.money import plain
from libs.common.schemas.price import AT_COST, PriceVersion, Rates, SearchUnit, Tier
from services.admin.clock import to_utc_ms
from services.admin.fields import (
    Aliases,
    Model,
    Multiplier,
    OutputLimit,
    Provider,
    Rate,
    Surcharges,
    Time,
    TokenCount,
)
from services.admin.validation import Rule

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
    web_search_per: SearchUnit = "search"
    surcharges: Surcharges = {}
    max_output_tokens: OutputLimit | None = None
    multiplier: Multiplier = AT_COST
    effective_from: Time | None = None
    tiers: Annotated[tuple[TierBody, ...], Rule(_tiers_problem)] = ()


def version_of(body: NewCost, price_id: str, now: datetime) -> PriceVersion:
    return PriceVersion(
        price_id=price_id,
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
        web_search_per=body.web_search_per,
        surcharges={name: plain(factor) for name, factor in body.surcharges.items()},
        multiplier=plain(body.multiplier),
        max_output_tokens=body.max_output_tokens,
        created_at=now,
    )


def _rates(body: RatesBody) -> Rates:
    given = {rate: _plain(getattr(body, field)) for field, rate in _RATES.items()}
    return msgspec.convert(given, Rates)


def _plain(rate: Decimal | None) -> Decimal | None:
    return None if rate is None else plain(rate)


def cost_view(version: PriceVersion) -> dict[str, Any]:
    return {
        "price_id": version.price_id,
        "model": version.model,
        "provider": version.provider,
        "aliases": version.aliases,
        "source": version.source,
        **terms_view(version),
        "effective_from": version.effective_from,
        "effective_until": version.effective_until,
        "created_at": version.created_at,
    }


def terms_view(version: PriceVersion) -> dict[str, Any]:
    """What makes one price another than the next."""
    return {
        **rates_view(version.rates),
        "web_search_cost": version.web_search,
        "web_search_per": version.web_search_per,
        "surcharges": version.surcharges,
        "multiplier": version.multiplier,
        "max_output_tokens": version.max_output_tokens,
        "tiers": [
            {
                "above_input_tokens": tier.above_input_tokens,
                "service_tier": tier.service_tier,
                **rates_view(tier.rates),
            }
            for tier in version.tiers
        ],
    }


def rates_view(rates: Rates) -> dict[str, Decimal | None]:
    return {field: getattr(rates, rate) for field, rate in _RATES.items()}
