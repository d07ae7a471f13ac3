"""From tokens and a price version to an exact cost.

Invariants: cost is additive over token classes, never negative, monotone in tokens, and rounded
once per call. A missing rate falls back, an explicit 0 is a price.
"""

from collections.abc import Iterable
from decimal import Context, Decimal

import msgspec

from libs.common.domain.money import EXACT, plain, round_to_nusd
from libs.common.schemas.entry import Cost, CostLine
from libs.common.schemas.price import AT_COST, FAST, PriceVersion, Rates, Tier
from libs.common.schemas.usage import TokenUsage

_PER_MILLION = Decimal("1e-6")
_MAX_MULTIPLIER = 1_000
_FINEST_MULTIPLIER = Decimal("1e-6")
_ROUNDING = Context(prec=60)
_INPUT_CLASSES = (
    "input_text",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "cache_write_30m",
    "cache_write_12h",
    "input_audio",
    "input_image",
    "citation",
)
_OUTPUT_CLASSES = ("output_text", "reasoning", "output_audio", "output_image")
# In the order of TokenCounts' fields.
_CLASSES = _INPUT_CLASSES + _OUTPUT_CLASSES
# The rates to try for each token class, in order; the last one is always set.
_RATES: dict[str, tuple[str, ...]] = {
    "input_text": ("input",),
    "cache_read": ("cache_read", "input"),
    "cache_write_5m": ("cache_write_5m", "input"),
    "cache_write_1h": ("cache_write_1h", "cache_write_5m", "input"),
    "cache_write_30m": ("cache_write_5m", "input"),
    "cache_write_12h": ("cache_write_1h", "cache_write_5m", "input"),
    "input_audio": ("input_audio", "input"),
    "input_image": ("input_image", "input"),
    "citation": ("input",),
    "output_text": ("output",),
    "reasoning": ("reasoning", "output"),
    "output_audio": ("output_audio", "output"),
    "output_image": ("output_image", "output"),
}


def multiplier_problem(multiplier: Decimal) -> str | None:
    """What is wrong with a multiplier, or None. Within its bounds every product of it is exact."""
    if not multiplier.is_finite():
        return "must be a finite number"
    if not 0 <= multiplier <= _MAX_MULTIPLIER:
        return f"must be between 0 and {_MAX_MULTIPLIER}"
    if multiplier != multiplier.quantize(_FINEST_MULTIPLIER, context=_ROUNDING):
        return "must have at most 6 decimals"
    return None


def total_tokens(usage: TokenUsage) -> int:
    """Input and output of every class."""
    return sum(filter(None, msgspec.structs.astuple(usage)[: len(_CLASSES)]))


def rates_for(version: PriceVersion, usage: TokenUsage) -> Rates:
    """The rates of the call's service tier, as served, and of its total input."""
    tier = tier_for(version, usage)
    return version.rates if tier is None else tier.rates


def tier_for(version: PriceVersion, usage: TokenUsage) -> Tier | None:
    """The tier whose rates the whole call has; None where it has the base rates."""
    if not version.tiers:
        return None
    total_input = sum(filter(None, msgspec.structs.astuple(usage)[: len(_INPUT_CLASSES)]))
    for service_tier in (usage.service_tier, None):
        tiers = [
            tier
            for tier in version.tiers
            if tier.service_tier == service_tier
            and (total_input > tier.above_input_tokens or tier.above_input_tokens == 0)
        ]
        if tiers:
            return max(tiers, key=lambda tier: tier.above_input_tokens)
    return None


def surcharges_for(version: PriceVersion, usage: TokenUsage) -> dict[str, Decimal]:
    """Those of the version that apply to the call as served; what it has none for costs as is."""
    if not version.surcharges:
        return {}
    region = None if usage.inference_geo is None else usage.inference_geo.lower()
    return {
        name: factor
        for name, factor in version.surcharges.items()
        if (usage.speed == FAST if name == FAST else name == region)
    }


def cost_of(
    usage: TokenUsage, version: PriceVersion, account_multiplier: Decimal = AT_COST
) -> Cost:
    """The call's cost in nano-USD with one line per token class that was used."""
    rates = rates_for(version, usage)
    surcharges = surcharges_for(version, usage).values()
    lines = [
        _line(name, tokens, _surcharged(_rate(rates, name), surcharges), _PER_MILLION)
        for name, tokens in _used(usage)
    ]
    searches = _charged_searches(version, usage.web_searches)
    if searches:
        lines.append(_line("web_search", searches, _fee(version), Decimal(1)))
    return Cost(
        cost_nusd=cost_nusd(usage, version, account_multiplier),
        lines=tuple(lines),
        multiplier=plain(EXACT.multiply(version.multiplier, account_multiplier)),
    )


def cost_nusd(
    usage: TokenUsage, version: PriceVersion, account_multiplier: Decimal = AT_COST
) -> int:
    """What `cost_of` comes to, without its lines: for each call, before and after it is made."""
    rates = rates_for(version, usage)
    micro_usd = Decimal(0)
    for name, tokens in _used(usage):
        micro_usd = EXACT.fma(Decimal(tokens), _rate(rates, name), micro_usd)
    micro_usd = _surcharged(micro_usd, surcharges_for(version, usage).values())
    return nusd_of(micro_usd, usage.web_searches, version, account_multiplier)


def nusd_of(
    micro_usd: Decimal, searches: int | None, version: PriceVersion, account_multiplier: Decimal
) -> int:
    """Tokens times their rates, and searches, with both multipliers on them: rounded here alone."""
    usd = EXACT.multiply(micro_usd, _PER_MILLION)
    if searches:
        usd = EXACT.fma(Decimal(_charged_searches(version, searches)), _fee(version), usd)
    multiplier = EXACT.multiply(version.multiplier, account_multiplier)
    return round_to_nusd(EXACT.multiply(usd, multiplier))


def _surcharged(amount: Decimal, surcharges: Iterable[Decimal]) -> Decimal:
    """They apply on top of each other, to tokens alone: a search costs the same everywhere."""
    for factor in surcharges:
        amount = plain(EXACT.multiply(amount, factor))
    return amount


def _charged_searches(version: PriceVersion, searches: int | None) -> int:
    if searches is None:
        return 0
    return min(searches, 1) if version.web_search_per == "call" else searches


def _fee(version: PriceVersion) -> Decimal:
    """Calls that ask for searches need a price with a fee; others that search show it as free."""
    return Decimal(0) if version.web_search is None else version.web_search


def _used(usage: TokenUsage) -> list[tuple[str, int]]:
    """The classes that hold any tokens, with how many."""
    counts = msgspec.structs.astuple(usage)
    return [(name, tokens) for name, tokens in zip(_CLASSES, counts, strict=False) if tokens]


def _rate(rates: Rates, token_class: str) -> Decimal:
    for name in _RATES[token_class]:
        rate: Decimal | None = getattr(rates, name)
        if rate is not None:
            return rate
    raise AssertionError(f"no rate for {token_class}")


def _line(item: str, quantity: int, rate: Decimal, per: Decimal) -> CostLine:
    amount = EXACT.multiply(EXACT.multiply(Decimal(quantity), rate), per)
    return CostLine(item=item, quantity=quantity, rate=rate, amount=plain(amount))
