"""Computes the most that a call can cost, as far as its request shows.

Invariant: a call whose tokens and tool uses stay within the arguments never costs more than its
hold, whichever token classes and service tier the provider reports.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from operator import attrgetter
from types import MappingProxyType

import msgspec

from libs.common.domain.attachments import Attachment
from libs.common.domain.money import EXACT, MAX_NUSD
from libs.common.domain.pricing import nusd_of
from libs.common.domain.served_terms import STANDARD_TIERS, tier_names
from libs.common.domain.tool_fees import most_usd
from libs.common.schemas.price import AT_COST, FAST, FEDRAMP, PriceVersion, Rates

# English text has about four bytes per token; three gives a larger hold.
_BYTES_PER_TOKEN = 3
# Far above any model's limit. Bounds the arithmetic for larger numbers that clients send.
_MAX_TOKENS = 10**12
_FREE = Decimal(0)
# Tiers that a provider's project setting or reserved capacity can give an unmarked request.
_UNASKED = STANDARD_TIERS | {*tier_names("priority")}
_NO_USES: Mapping[str, int] = MappingProxyType({})
# Providers that charge for cache writes only if the request asks for them.
_CACHING_ON_REQUEST = frozenset({"anthropic"})


class BillableFeatures(msgspec.Struct, frozen=True, kw_only=True):
    """The features of a request that can cost more than plain text.

    `tools` are the tools that are charged by use, each with the most uses that the request allows.
    """

    cache_writes: bool = False
    long_writes: bool = False
    audio_input: bool = False
    audio_output: bool = False
    tools: Mapping[str, int] = _NO_USES
    fast: bool = False


PLAIN_TEXT = BillableFeatures()


class DearestRates(msgspec.Struct, frozen=True):
    """The most that a token can cost, in micro-USD, with surcharges.

    A row is (lower bound of input tokens, exclusive; rate per input token; rate per output token).
    """

    rows: tuple[tuple[int, Decimal, Decimal], ...]


# Selects the rates of some token classes.
RatesReader = Callable[[Rates], tuple[Decimal | None, ...]]


def estimate_input_tokens(body: bytes, attachments: Sequence[Attachment] = ()) -> int:
    """Rounds up."""
    if not attachments:
        return -(-len(body) // _BYTES_PER_TOKEN)
    text_bytes = len(body) - sum(len(each.data) for each in attachments)
    return -(-text_bytes // _BYTES_PER_TOKEN) + sum(each.tokens for each in attachments)


def hold_nusd(
    price: PriceVersion,
    account_multiplier: Decimal = AT_COST,
    *,
    input_tokens: int,
    output_tokens: int,
    service_tier: str | None,
    features: BillableFeatures = PLAIN_TEXT,
) -> int:
    """The cost in the dearest token classes that `features` allow, at the dearest rates."""
    return hold_at(
        dearest_rates(price, service_tier, features),
        price,
        account_multiplier,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        tools=features.tools,
    )


def hold_at(
    dearest: DearestRates,
    price: PriceVersion,
    account_multiplier: Decimal,
    *,
    input_tokens: int,
    output_tokens: int,
    tools: Mapping[str, int] = _NO_USES,
) -> int:
    """As `hold_nusd`, with the price's rates computed before."""
    input_count = Decimal(min(input_tokens, _MAX_TOKENS))
    output_count = Decimal(min(output_tokens, _MAX_TOKENS))
    micro_usd = _FREE
    for above, input_rate, output_rate in dearest.rows:
        # An input that is shorter than estimated can have other rates.
        if above == 0 or input_tokens > above:
            cost = EXACT.fma(output_count, output_rate, EXACT.multiply(input_count, input_rate))
            micro_usd = max(micro_usd, cost)
    usd = most_usd(price, tools)
    return min(nusd_of(micro_usd, usd, price, account_multiplier), MAX_NUSD)


def dearest_rates(
    price: PriceVersion, service_tier: str | None, features: BillableFeatures
) -> DearestRates:
    """Over the token classes that `features` allow, and each tier that may serve the call."""
    input_rates = _input_rates(
        features.long_writes,
        features.cache_writes or price.provider not in _CACHING_ON_REQUEST,
        features.audio_input,
    )
    output_rates = _output_rates(features.audio_output)
    surcharge = _dearest_surcharge(price, features)
    rows = dict.fromkeys(
        (
            above,
            EXACT.multiply(_dearest(input_rates(rates)), surcharge),
            EXACT.multiply(_dearest(output_rates(rates)), surcharge),
        )
        for above, rates in _applicable_rates(price, service_tier)
    )
    return DearestRates(tuple(row for row in rows if not any(_outdone(row, by) for by in rows)))


def _outdone(row: tuple[int, Decimal, Decimal], other: tuple[int, Decimal, Decimal]) -> bool:
    """Whether `other` applies wherever `row` does, and is never cheaper."""
    return other != row and other[0] <= row[0] and other[1] >= row[1] and other[2] >= row[2]


def _applicable_rates(price: PriceVersion, service_tier: str | None) -> list[tuple[int, Rates]]:
    """The rates of all hours, with the input tokens above which they apply.

    A tier that the price does not list can turn out to be any of the listed ones.
    """
    applicable = [(0, price.rates)]
    if not price.tiers:
        return applicable
    served = _UNASKED if service_tier in (None, "auto") else STANDARD_TIERS
    if service_tier not in STANDARD_TIERS:
        served |= {*tier_names(service_tier)}
        if not any(tier.service_tier in tier_names(service_tier) for tier in price.tiers):
            served |= {tier.service_tier for tier in price.tiers}
    return applicable + [
        (tier.above_input_tokens, tier.rates) for tier in price.tiers if tier.service_tier in served
    ]


def _dearest_surcharge(price: PriceVersion, features: BillableFeatures) -> Decimal:
    """A fast call may be served at normal speed; a region can be a workspace's setting."""
    regional, fast = AT_COST, AT_COST
    for name, factor in price.surcharges.items():
        if name == FAST:
            fast = max(fast, factor) if features.fast else fast
        elif name != FEDRAMP:
            regional = max(regional, factor)
    return EXACT.multiply(regional, fast)


@cache
def _input_rates(long_writes: bool, cache_writes: bool, audio: bool) -> RatesReader:
    """Text, cache reads, images and citations are in every call's reader."""
    classes: tuple[str, ...] = ("input", "cache_read", "input_image", "citation")
    if long_writes or cache_writes:
        classes += ("cache_write_5m", "cache_write_30m")
    if long_writes:
        classes += ("cache_write_1h", "cache_write_12h")
    return attrgetter(*classes, *(("input_audio",) if audio else ()))


@cache
def _output_rates(audio: bool) -> RatesReader:
    classes = ("output", "reasoning", "output_image")
    return attrgetter(*classes, *(("output_audio",) if audio else ()))


def _dearest(rates: tuple[Decimal | None, ...]) -> Decimal:
    """The first rate is set. A missing rate falls back on another one of the same side."""
    dearest = None
    for rate in rates:
        if rate is not None and (dearest is None or rate > dearest):
            dearest = rate
    if dearest is None:
        raise AssertionError("a price has rates for text")
    return dearest
