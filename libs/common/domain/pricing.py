"""Computes an exact cost from tokens and a price version.

Invariants: cost is additive over token classes, never negative, monotone in tokens, and rounded
once per call. A missing rate falls back, an explicit 0 is a price.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Context, Decimal

from libs.common.domain.money import EXACT, plain_amount, round_to_nusd
from libs.common.domain.served_terms import rates_for, surcharges_for, unknown_terms
from libs.common.domain.token_classes import borrowed_rates, rate_of, used_classes
from libs.common.domain.tool_fees import charged_uses, fee_of
from libs.common.schemas.entry import Cost, CostLine, PriceNote
from libs.common.schemas.price import AT_COST, PROVIDER_REPORTED, PriceVersion, Rates
from libs.common.schemas.usage import TokenUsage

_PER_MILLION = Decimal("1e-6")
_EACH = Decimal(1)
_FREE = Decimal(0)
MAX_MULTIPLIER = 1_000
_FINEST_MULTIPLIER = Decimal("1e-6")
_ROUNDING = Context(prec=60)
_UNKNOWN: dict[str, PriceNote] = {
    "service_tier": "service_tier_unknown",
    "speed": "speed_unknown",
    "inference_geo": "region_unknown",
}


def multiplier_problem(multiplier: Decimal) -> str | None:
    """The fault of a multiplier, or None. Within its bounds every product is exact."""
    if not multiplier.is_finite():
        return "must be a finite number"
    if multiplier == AT_COST:
        # Nearly all are.
        return None
    if not 0 <= multiplier <= MAX_MULTIPLIER:
        return f"must be between 0 and {MAX_MULTIPLIER}"
    if multiplier != multiplier.quantize(_FINEST_MULTIPLIER, context=_ROUNDING):
        return "must have at most 6 decimals"
    return None


def cost_of(
    usage: TokenUsage,
    version: PriceVersion,
    account_multiplier: Decimal = AT_COST,
    *,
    at: datetime | None = None,
) -> Cost:
    """The call's cost in nano-USD with one line per token class and tool that was used.

    `at` is the call's start, for prices that depend on the hour. `account_multiplier` is that of
    the account, times the deployment's.
    """
    reported = _reported_usd(usage, version)
    if reported is None:
        rates, tokens = rates_for(version, usage, at), used_classes(usage)
        uses = charged_uses(version, usage)
        surcharges = surcharges_for(version, usage).values()
        lines = [
            _line(name, number, _surcharged(rate_of(rates, name), surcharges), _PER_MILLION)
            for name, number in tokens
        ]
        lines += [_line(tool, n, fee_of(version, tool) or _FREE, _EACH) for tool, n in uses]
        notes = tuple(_notes(usage, version, rates))
        usd = _usd(version, rates, tokens, surcharges, uses)
    else:
        lines, notes = [_line(PROVIDER_REPORTED, 1, reported, _EACH)], ()
        usd = _FREE, reported
    return Cost(
        cost_nusd=nusd_of(*usd, version, account_multiplier),
        lines=tuple(lines),
        multiplier=plain_amount(EXACT.multiply(version.multiplier, account_multiplier)),
        notes=notes,
    )


def cost_nusd(
    usage: TokenUsage,
    version: PriceVersion,
    account_multiplier: Decimal = AT_COST,
    *,
    at: datetime | None = None,
) -> int:
    """The sum of `cost_of` without its lines, for the gateway, before and after each call."""
    reported = _reported_usd(usage, version)
    if reported is not None:
        return nusd_of(_FREE, reported, version, account_multiplier)
    usd = _usd(
        version,
        rates_for(version, usage, at),
        used_classes(usage),
        surcharges_for(version, usage).values(),
        charged_uses(version, usage),
    )
    return nusd_of(*usd, version, account_multiplier)


def _usd(
    version: PriceVersion,
    rates: Rates,
    tokens: Iterable[tuple[str, int]],
    surcharges: Iterable[Decimal],
    uses: Iterable[tuple[str, int]],
) -> tuple[Decimal, Decimal]:
    """Returns the cost of tokens in micro-USD, and of tool uses in USD."""
    micro_usd, usd = _FREE, _FREE
    for name, number in tokens:
        micro_usd = EXACT.fma(Decimal(number), rate_of(rates, name), micro_usd)
    micro_usd = _surcharged(micro_usd, surcharges)
    for tool, number in uses:
        usd = EXACT.fma(Decimal(number), fee_of(version, tool) or _FREE, usd)
    return micro_usd, usd


def nusd_of(
    micro_usd: Decimal, usd: Decimal, version: PriceVersion, account_multiplier: Decimal
) -> int:
    """Tokens times their rates, and fees, with both multipliers on them: rounded here alone."""
    usd = EXACT.fma(micro_usd, _PER_MILLION, usd)
    multiplier = EXACT.multiply(version.multiplier, account_multiplier)
    return round_to_nusd(EXACT.multiply(usd, multiplier))


def _reported_usd(usage: TokenUsage, version: PriceVersion) -> Decimal | None:
    """The cost that the provider reports, if the price's basis is that."""
    return usage.provider_cost_usd if version.basis == PROVIDER_REPORTED else None


def _notes(usage: TokenUsage, version: PriceVersion, rates: Rates) -> Iterator[PriceNote]:
    if version.basis == PROVIDER_REPORTED:
        yield "provider_cost_missing"
    for term in unknown_terms(version, usage):
        yield _UNKNOWN[term]
    if any(borrowed_rates(rates, usage)):
        yield "cache_write_rate_missing"
    if any(fee_of(version, tool) is None for tool, _ in charged_uses(version, usage)):
        yield "tool_fee_missing"


def _surcharged(amount: Decimal, surcharges: Iterable[Decimal]) -> Decimal:
    """They apply on top of each other, to tokens alone: a search costs the same everywhere."""
    for factor in surcharges:
        amount = plain_amount(EXACT.multiply(amount, factor))
    return amount


def _line(item: str, quantity: int, rate: Decimal, factor: Decimal) -> CostLine:
    amount = EXACT.multiply(EXACT.multiply(Decimal(quantity), rate), factor)
    return CostLine(item=item, quantity=quantity, rate=rate, amount=plain_amount(amount))
