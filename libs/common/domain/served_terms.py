"""Selects the rates and factors of a price that apply to a call, by how and when it was served.

Invariants: a service tier has one meaning under both of its names; terms that a price lacks
leave its rates unchanged, and are named.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from libs.common.domain.token_classes import total_input
from libs.common.schemas.price import FAST, GLOBAL, REGIONAL, PriceVersion, Rates, Tier
from libs.common.schemas.usage import TokenCounts, TokenUsage

# OpenAI sells one tier under two names, and which one an answer shows depends on the model.
_OTHER_NAMES = {"fast": "priority", "priority": "fast"}
# Providers' names for the service of a call that asked for no tier.
STANDARD_TIERS = frozenset({None, "default", "standard", "standard_only", "auto", "on_demand"})
_STANDARD_SPEEDS = frozenset({None, "standard"})
_NOWHERE = frozenset({None, "", GLOBAL, "not_available"})


def tier_names(service_tier: str | None) -> tuple[str | None, ...]:
    """The names under which a price may list the tier: its own first."""
    other = _OTHER_NAMES.get(service_tier or "")
    return (service_tier,) if other is None else (service_tier, other)


def rates_for(version: PriceVersion, usage: TokenUsage, at: datetime | None = None) -> Rates:
    """The rates of the call's service tier, as served, of its total input and of its hour."""
    tier = tier_for(version, usage, at=at)
    return version.rates if tier is None else tier.rates


def tier_for(
    version: PriceVersion,
    usage: TokenUsage,
    counts: TokenCounts | None = None,
    at: datetime | None = None,
) -> Tier | None:
    """The tier whose rates the whole call has; None where it has the base rates.

    `counts` are those of a run of another model in the same call. Without `at`, the call's start,
    it began at none of the hours that a tier may be for.
    """
    if not version.tiers:
        return None
    input_tokens = total_input(usage if counts is None else counts)
    for name in (*tier_names(usage.service_tier), None):
        best: Tier | None = None
        for tier in version.tiers:
            if (
                tier.service_tier == name
                and (input_tokens > tier.above_input_tokens or tier.above_input_tokens == 0)
                and (not tier.hours or (at is not None and is_open(tier, at)))
                and (best is None or _is_closer(tier, best))
            ):
                best = tier
        if best is not None:
            return best
    return None


def _is_closer(tier: Tier, other: Tier) -> bool:
    """Whether it is for larger inputs or, for the same ones, for some hours."""
    rank = (tier.above_input_tokens, bool(tier.hours))
    return rank > (other.above_input_tokens, bool(other.hours))


def is_open(tier: Tier, at: datetime) -> bool:
    """Whether the moment lies in the tier's hours, which are UTC's."""
    utc = at.astimezone(UTC)
    minute, weekday = utc.hour * 60 + utc.minute, utc.isoweekday()
    return any(
        hours.from_minute <= minute < hours.to_minute and weekday in hours.weekdays
        for hours in tier.hours
    )


def surcharges_for(version: PriceVersion, usage: TokenUsage) -> dict[str, Decimal]:
    """The version's surcharges that apply to the call as served."""
    if not version.surcharges:
        return {}
    region = _region(usage)
    if region is not None and region not in version.surcharges:
        region = REGIONAL
    return {
        name: factor
        for name, factor in version.surcharges.items()
        if (usage.speed == FAST if name == FAST else name == region)
    }


def regional_surcharges(surcharges: Mapping[str, Decimal], region: str) -> dict[str, Decimal]:
    """The surcharges that a call in the region can have: its own, and those of no region."""
    usage = TokenUsage(inference_geo=region)
    name = _region(usage)
    factor = surcharges.get(name or "", surcharges.get(REGIONAL) if name else None)
    fast_surcharge = {} if FAST not in surcharges else {FAST: surcharges[FAST]}
    return fast_surcharge if factor is None else fast_surcharge | {REGIONAL: factor}


def unknown_terms(version: PriceVersion, usage: TokenUsage) -> Iterator[str]:
    """Service details that the provider reported and the price has no terms for."""
    tier = usage.service_tier
    if tier not in STANDARD_TIERS and not any(
        listed.service_tier in tier_names(tier) for listed in version.tiers
    ):
        yield "service_tier"
    if usage.speed not in _STANDARD_SPEEDS and not (
        usage.speed == FAST and FAST in version.surcharges
    ):
        yield "speed"
    region = _region(usage)
    if region is not None and not version.surcharges.keys() & {region, REGIONAL}:
        yield "inference_geo"


def _region(usage: TokenUsage) -> str | None:
    region = None if usage.inference_geo is None else usage.inference_geo.lower()
    return None if region in _NOWHERE or region == FAST else region
