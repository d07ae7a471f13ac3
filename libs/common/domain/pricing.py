"""From tokens and a price version to an exact cost.

Invariants: cost is additive over token classes, never negative, monotone in tokens, and rounded
once per call. A missing rate falls back, an explicit 0 is a price.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

import msgspec

from libs.common.domain.money import EXACT, plain, round_to_nusd
from libs.common.schemas.entry import Cost, CostLine
from libs.common.schemas.price import PriceVersion, Rates
from libs.common.schemas.usage import TokenUsage

_PER_MILLION = Decimal("1e-6")
_INPUT_CLASSES = (
    "input_text",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "input_image",
)
_OUTPUT_CLASSES = ("output_text", "reasoning", "output_audio", "output_image")
# In the order of TokenUsage's fields.
_CLASSES = _INPUT_CLASSES + _OUTPUT_CLASSES
# The rates to try for each token class, in order; the last one is always set.
_RATES: dict[str, tuple[str, ...]] = {
    "input_text": ("input",),
    "cache_read": ("cache_read", "input"),
    "cache_write_5m": ("cache_write_5m", "input"),
    "cache_write_1h": ("cache_write_1h", "cache_write_5m", "input"),
    "input_audio": ("input_audio", "input"),
    "input_image": ("input_image", "input"),
    "output_text": ("output",),
    "reasoning": ("reasoning", "output"),
    "output_audio": ("output_audio", "output"),
    "output_image": ("output_image", "output"),
}


def model_names(provider: str, model: str) -> tuple[str, str]:
    """The names under which a routed model's price is looked up, in order."""
    return model, f"{provider}/{model}"


def find_price(
    versions: Iterable[PriceVersion], provider: str, model: str, at: datetime
) -> PriceVersion | None:
    """The version in force at `at`: by exact name, then provider-qualified, then alias.

    A version for the provider itself beats one for every provider; then the newest wins.
    """
    in_force = [
        version
        for version in versions
        if version.provider in ("*", provider) and version.effective_from <= at
    ]
    names = model_names(provider, model)
    ranked = [[v for v in in_force if v.model == name] for name in names]
    ranked.append([v for v in in_force if any(name in v.aliases for name in names)])
    for candidates in ranked:
        if candidates:
            return max(
                candidates,
                key=lambda v: (v.provider != "*", v.effective_from, v.created_at, v.price_id),
            )
    return None


def total_tokens(usage: TokenUsage) -> int:
    """Input and output of every class."""
    return sum(tokens for _, tokens in _used(usage))


def rates_for(version: PriceVersion, usage: TokenUsage) -> Rates:
    """The rates of the call's service tier, as served, and of its total input."""
    if not version.tiers:
        return version.rates
    total_input = sum(tokens for name, tokens in _used(usage) if name in _INPUT_CLASSES)
    for service_tier in (usage.service_tier, None):
        tiers = [
            tier
            for tier in version.tiers
            if tier.service_tier == service_tier
            and (total_input > tier.above_input_tokens or tier.above_input_tokens == 0)
        ]
        if tiers:
            return max(tiers, key=lambda tier: tier.above_input_tokens).rates
    return version.rates


def cost_of(usage: TokenUsage, version: PriceVersion) -> Cost:
    """The call's cost in nano-USD with one line per token class that was used."""
    rates = rates_for(version, usage)
    lines = [_line(name, tokens, _rate(rates, name), _PER_MILLION) for name, tokens in _used(usage)]
    if usage.web_searches and version.web_search is not None:
        lines.append(_line("web_search", usage.web_searches, version.web_search, Decimal(1)))
    return Cost(cost_nusd=cost_nusd(usage, version), lines=tuple(lines))


def cost_nusd(usage: TokenUsage, version: PriceVersion) -> int:
    """What `cost_of` comes to, without its lines: for each call, before and after it is made."""
    rates = rates_for(version, usage)
    micro_usd = Decimal(0)
    for name, tokens in _used(usage):
        micro_usd = EXACT.fma(Decimal(tokens), _rate(rates, name), micro_usd)
    usd = EXACT.multiply(micro_usd, _PER_MILLION)
    if usage.web_searches and version.web_search is not None:
        usd = EXACT.fma(Decimal(usage.web_searches), version.web_search, usd)
    return round_to_nusd(usd)


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
