"""How requests and answers write prices."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.domain.money import plain_amount
from libs.common.errors import FieldError, ValidationFailed
from libs.common.schemas.price import PriceBasis, PriceVersion, Rates, SearchUnit, Tier
from services.admin.cost_hours import OpenHours, hours_view, overlap, stored_hours
from services.admin.fields import Aliases, Model, OutputLimit, Provider, Time, TokenCount
from services.admin.price_fields import Multiplier, Rate, Surcharges, ToolFees
from services.admin.validation import FieldRule

# The fields of requests and answers, and the rates they stand for.
_RATES = {
    "input_cost_per_million": "input",
    "output_cost_per_million": "output",
    "cached_read_cost_per_million": "cache_read",
    "cache_write_cost_per_million": "cache_write_5m",
    "cache_write_1h_cost_per_million": "cache_write_1h",
    "cache_write_30m_cost_per_million": "cache_write_30m",
    "cache_write_12h_cost_per_million": "cache_write_12h",
    "reasoning_cost_per_million": "reasoning",
    "input_audio_cost_per_million": "input_audio",
    "input_image_cost_per_million": "input_image",
    "output_audio_cost_per_million": "output_audio",
    "output_image_cost_per_million": "output_image",
    "citation_cost_per_million": "citation",
}

# Likewise the terms beside the rates.
_TERMS = {
    "aliases": "aliases",
    "web_search_cost": "web_search",
    "web_search_per": "web_search_per",
    "tool_fees": "tool_fees",
    "surcharges": "surcharges",
    "multiplier": "multiplier",
    "basis": "basis",
    "max_output_tokens": "max_output_tokens",
    "tiers": "tiers",
}


class TierBody(msgspec.Struct, frozen=True, kw_only=True):
    """USD per million tokens. An absent rate falls back to a related one; 0 is free."""

    above_input_tokens: TokenCount
    service_tier: Model | None = None
    hours: OpenHours = ()
    input_cost_per_million: Rate
    output_cost_per_million: Rate
    cached_read_cost_per_million: Rate | None = None
    cache_write_cost_per_million: Rate | None = None
    cache_write_1h_cost_per_million: Rate | None = None
    cache_write_30m_cost_per_million: Rate | None = None
    cache_write_12h_cost_per_million: Rate | None = None
    reasoning_cost_per_million: Rate | None = None
    input_audio_cost_per_million: Rate | None = None
    input_image_cost_per_million: Rate | None = None
    output_audio_cost_per_million: Rate | None = None
    output_image_cost_per_million: Rate | None = None
    citation_cost_per_million: Rate | None = None


def _tiers_problem(tiers: tuple[TierBody, ...], _: datetime) -> str | None:
    if any((t.above_input_tokens, t.service_tier, t.hours) == (0, None, ()) for t in tiers):
        return "a tier needs above_input_tokens above 0, a service_tier or hours"
    for place, tier in enumerate(tiers):
        for other in tiers[:place]:
            same = (tier.above_input_tokens, tier.service_tier) == (
                other.above_input_tokens,
                other.service_tier,
            )
            if same and (tier.hours == other.hours or overlap(tier.hours, other.hours)):
                return "two tiers apply under the same condition"
    return None


class NewCost(msgspec.Struct, frozen=True, kw_only=True):
    """Without `effective_from`, a version is in force from now on.

    With `inherit`, what is not given is as in the price that the version takes over from; null
    takes a term away. Without it what is not given has its default, and both rates are required.
    """

    model: Model
    provider: Provider = "*"
    inherit: bool = False
    effective_from: Time | None = None
    aliases: Aliases | UnsetType = UNSET
    input_cost_per_million: Rate | UnsetType = UNSET
    output_cost_per_million: Rate | UnsetType = UNSET
    cached_read_cost_per_million: Rate | UnsetType | None = UNSET
    cache_write_cost_per_million: Rate | UnsetType | None = UNSET
    cache_write_1h_cost_per_million: Rate | UnsetType | None = UNSET
    cache_write_30m_cost_per_million: Rate | UnsetType | None = UNSET
    cache_write_12h_cost_per_million: Rate | UnsetType | None = UNSET
    reasoning_cost_per_million: Rate | UnsetType | None = UNSET
    input_audio_cost_per_million: Rate | UnsetType | None = UNSET
    input_image_cost_per_million: Rate | UnsetType | None = UNSET
    output_audio_cost_per_million: Rate | UnsetType | None = UNSET
    output_image_cost_per_million: Rate | UnsetType | None = UNSET
    citation_cost_per_million: Rate | UnsetType | None = UNSET
    web_search_cost: Rate | UnsetType | None = UNSET
    web_search_per: SearchUnit | UnsetType = UNSET
    tool_fees: ToolFees | UnsetType = UNSET
    surcharges: Surcharges | UnsetType = UNSET
    max_output_tokens: OutputLimit | UnsetType | None = UNSET
    multiplier: Multiplier | UnsetType = UNSET
    basis: PriceBasis | UnsetType = UNSET
    tiers: Annotated[tuple[TierBody, ...], FieldRule(_tiers_problem)] | UnsetType = UNSET


def version_of(
    body: NewCost,
    base: PriceVersion | None,
    *,
    price_id: str,
    at: datetime,
    actor_id: str,
    now: datetime,
) -> PriceVersion:
    """With `base`, the version that it inherits from. Raises ValidationFailed without a rate."""
    required = ("input_cost_per_million", "output_cost_per_million")
    missing = [name for name in required if base is None and getattr(body, name) is UNSET]
    if missing:
        raise ValidationFailed([FieldError(name, "is required") for name in missing])
    rates = {} if base is None else msgspec.structs.asdict(base.rates)
    for field, rate in _RATES.items():
        if (value := getattr(body, field)) is not UNSET:
            rates[rate] = _plain(value)
    terms: dict[str, Any] = {}
    for field, term in _TERMS.items():
        if (value := getattr(body, field)) is not UNSET:
            terms[term] = _stored_value(value)
        elif base is not None and (field != "aliases" or base.model == body.model):
            terms[term] = getattr(base, term)
    return PriceVersion(
        price_id=price_id,
        model=body.model,
        provider=body.provider,
        effective_from=at,
        rates=msgspec.convert(rates, Rates),
        made_by=actor_id,
        created_at=now,
        **terms,
    )


def _stored_value(value: Any) -> Any:
    match value:
        case Decimal():
            return plain_amount(value)
        case dict():
            return {name: _stored_value(inner) for name, inner in value.items()}
        case tuple():
            return tuple(map(_stored_value, value))
        case TierBody():
            return Tier(
                rates=_rates(value),
                above_input_tokens=value.above_input_tokens,
                service_tier=value.service_tier,
                hours=tuple(map(stored_hours, value.hours)),
            )
        case _:
            return value


def _rates(body: TierBody) -> Rates:
    rates = {rate: _plain(getattr(body, field)) for field, rate in _RATES.items()}
    return msgspec.convert(rates, Rates)


def _plain(rate: Decimal | None) -> Decimal | None:
    return None if rate is None else plain_amount(rate)


def terms_view(version: PriceVersion) -> dict[str, Any]:
    """The terms in which prices can differ."""
    return {
        **rates_view(version.rates),
        "web_search_cost": version.web_search,
        "web_search_per": version.web_search_per,
        "tool_fees": version.tool_fees,
        "surcharges": version.surcharges,
        "multiplier": version.multiplier,
        "basis": version.basis,
        "max_output_tokens": version.max_output_tokens,
        "tiers": [
            {
                "above_input_tokens": tier.above_input_tokens,
                "service_tier": tier.service_tier,
                "hours": [hours_view(hours) for hours in tier.hours],
                **rates_view(tier.rates),
            }
            for tier in version.tiers
        ],
    }


def rates_view(rates: Rates) -> dict[str, Decimal | None]:
    return {field: getattr(rates, rate) for field, rate in _RATES.items()}
