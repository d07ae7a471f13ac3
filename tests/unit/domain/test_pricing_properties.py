"""What holds for every price and every usage."""

from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from libs.common.domain.entries import entry_of
from libs.common.domain.money import MAX_NUSD
from libs.common.domain.pricing import cost_nusd, cost_of
from libs.common.domain.served_terms import rates_for
from libs.common.schemas.entry import Cost, LedgerEntry
from libs.common.schemas.price import PriceVersion, Rates, Tier
from libs.common.schemas.usage import TokenUsage, UsageEvent
from libs.common.storage.queue.event_queue import decode_event, encode_batch, split_batch
from tests.unit.builders import NOW, event, price

_INPUT = (
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
_OUTPUT = ("output_text", "reasoning", "output_audio", "output_image")
_CLASSES = _INPUT + _OUTPUT

_TOOLS = ("web_search_preview", "file_search", "container_1g", "container_4g", "x_search")


def _rate(millionths: int) -> Decimal | None:
    return None if millionths < 0 else Decimal(millionths).scaleb(-6)


# Each price and each usage has dozens of these, so that every one is a single draw.
_rates = st.integers(0, 10**9).map(_rate)
_perhaps_rates = st.integers(-(10**9), 10**9).map(_rate)
_tokens = st.integers(-(10**7), 10**7).map(lambda count: None if count < 0 else count)
_cards = st.builds(
    Rates,
    input=_rates,
    output=_rates,
    **dict.fromkeys((*_INPUT[1:], *_OUTPUT[1:]), _perhaps_rates),
)
_usages: st.SearchStrategy[TokenUsage] = st.builds(
    TokenUsage,
    **dict.fromkeys(_CLASSES, _tokens),
    web_searches=st.none() | st.integers(0, 100),
    tool_uses=st.dictionaries(st.sampled_from(_TOOLS), st.integers(0, 100)),
    service_tier=st.sampled_from([None, "flex", "priority", "fast"]),
    speed=st.sampled_from([None, "standard", "fast"]),
    inference_geo=st.sampled_from([None, "global", "us", "EU"]),
)
# How a call was served, which is the same for all of its tokens.
_SERVED = ("speed", "inference_geo")
_multipliers = st.decimals(0, 1_000, places=6, allow_nan=False)
_flat = st.builds(
    lambda card, search, fees, multiplier, surcharges: price(
        rates=card,
        web_search=search,
        tool_fees=fees,
        multiplier=multiplier,
        surcharges=surcharges,
    ),
    _cards,
    _rates,
    st.dictionaries(st.sampled_from((*_TOOLS, "container")), _rates),
    st.just(Decimal(1)) | _multipliers,
    st.dictionaries(st.sampled_from(["fast", "us", "eu"]), st.decimals(0, 3, places=6)),
)
_tiers = st.builds(
    Tier,
    rates=_cards,
    above_input_tokens=st.sampled_from([0, 1_000, 1_000_000]),
    service_tier=st.sampled_from([None, "flex", "priority"]),
)
_prices = st.builds(
    lambda version, tiers: replace(version, tiers=tuple(tiers)), _flat, st.lists(_tiers, max_size=4)
)


def explained(cost: Cost) -> Fraction:
    """In USD; fractions never round, whatever the digits."""
    return sum((Fraction(line.amount) for line in cost.lines), Fraction(0)) * Fraction(
        cost.multiplier
    )


def exact(usage: TokenUsage, version: PriceVersion) -> Fraction:
    return explained(cost_of(usage, version))


def plus(usage: TokenUsage, token_class: str, more: int) -> TokenUsage:
    return replace(usage, **{token_class: (getattr(usage, token_class) or 0) + more})


@given(_usages, _prices, _multipliers)
def test_the_cost_is_the_sum_of_its_lines_multiplied_and_rounded_once(
    usage: TokenUsage, version: PriceVersion, account_multiplier: Decimal
) -> None:
    cost = cost_of(usage, version, account_multiplier)
    assert cost.multiplier == version.multiplier * account_multiplier
    # Whoever has the entry can recompute it.
    assert cost.cost_nusd == round(explained(cost) * 10**9)


@given(_usages, _prices, _multipliers, _multipliers)
def test_a_higher_multiplier_never_costs_less(
    usage: TokenUsage, version: PriceVersion, one: Decimal, other: Decimal
) -> None:
    low, high = sorted((one, other))
    assert cost_nusd(usage, version, low) <= cost_nusd(usage, version, high)


@given(
    _usages,
    _prices,
    st.dictionaries(st.sampled_from(["fast", "us"]), st.decimals(1, 1_000, places=6)),
)
def test_a_surcharge_above_one_never_costs_less(
    usage: TokenUsage, version: PriceVersion, surcharges: dict[str, Decimal]
) -> None:
    plain = replace(version, surcharges={})
    assert cost_nusd(usage, replace(version, surcharges=surcharges)) >= cost_nusd(usage, plain)


@given(_usages, _prices)
def test_a_multiplier_of_zero_makes_a_call_free(usage: TokenUsage, version: PriceVersion) -> None:
    assert cost_nusd(usage, version, Decimal(0)) == 0


_IDS = [f"019b0000-0000-7000-8000-{n:012}" for n in range(8)]


@given(st.lists(_usages, max_size=8), _prices, _multipliers, st.randoms(use_true_random=False))
def test_costs_depend_neither_on_order_nor_on_batching(
    usages: list[TokenUsage],
    version: PriceVersion,
    account_multiplier: Decimal,
    random: Random,
) -> None:
    calls = [
        event(
            call_id,
            usage=usage,
            usage_source="provider",
            provider="openai",
            model="gpt-4o",
            account_multiplier=account_multiplier,
        )
        for call_id, usage in zip(_IDS, usages, strict=False)
    ]

    def costs(batches: list[list[UsageEvent]]) -> dict[str, int]:
        raw_events = [raw for batch in batches for raw in split_batch(encode_batch(batch))]
        entries = [
            entry_of(decode_event(raw), {("openai", "gpt-4o"): version}, NOW) for raw in raw_events
        ]
        return {e.entry_id: e.cost_nusd for e in entries if isinstance(e, LedgerEntry)}

    together = costs([calls])
    shuffled = random.sample(calls, len(calls))
    cut = random.randint(0, len(calls))
    assert costs([shuffled[:cut], shuffled[cut:]]) == together == costs([[call] for call in calls])
    amounts = [cost_nusd(usage, version, account_multiplier) for usage in usages]
    # Beyond that a call is unpostable.
    assert sum(together.values()) == sum(cost for cost in amounts if cost <= MAX_NUSD)


@given(_usages, _prices)
def test_each_line_can_be_recomputed(usage: TokenUsage, version: PriceVersion) -> None:
    for line in cost_of(usage, version).lines:
        uses = usage.tool_uses | {"web_search": usage.web_searches or 0}
        divisor = 1 if line.item in uses else 1_000_000
        assert line.quantity == (uses[line.item] if divisor == 1 else getattr(usage, line.item))
        assert Fraction(line.amount) == line.quantity * Fraction(line.rate) / divisor


@given(_usages, _prices)
def test_a_cost_is_never_negative(usage: TokenUsage, version: PriceVersion) -> None:
    assert cost_of(usage, version).cost_nusd >= 0


@given(_usages, _flat)
def test_the_cost_is_additive_over_the_classes(usage: TokenUsage, version: PriceVersion) -> None:
    terms = {name: getattr(usage, name) for name in _SERVED}
    names = (*_CLASSES, "web_searches")
    alone = [TokenUsage(**terms, **{name: getattr(usage, name)}) for name in names]
    alone += [TokenUsage(tool_uses={tool: uses}) for tool, uses in usage.tool_uses.items()]
    assert exact(usage, version) == sum(exact(part, version) for part in alone)


@given(st.lists(_usages, max_size=8), _flat, _usages)
def test_counting_calls_together_or_apart_gives_the_same_amount(
    usages: list[TokenUsage], version: PriceVersion, any_call: TokenUsage
) -> None:
    names = (*_CLASSES, "web_searches")
    terms = {name: getattr(any_call, name) for name in _SERVED}
    usages = [replace(usage, **terms) for usage in usages]
    summed: dict[str, Any] = {
        name: sum(getattr(usage, name) or 0 for usage in usages) for name in names
    }
    uses = {tool: sum(u.tool_uses.get(tool, 0) for u in usages) for tool in _TOOLS}
    assert exact(TokenUsage(**terms, **summed, tool_uses=uses), version) == sum(
        exact(usage, version) for usage in usages
    )


@given(_usages, _flat, st.sampled_from(_CLASSES), st.integers(0, 1_000_000))
def test_more_tokens_never_cost_less(
    usage: TokenUsage, version: PriceVersion, token_class: str, more: int
) -> None:
    later = plus(usage, token_class, more)
    assert cost_of(later, version).cost_nusd >= cost_of(usage, version).cost_nusd


@given(_usages, _flat, st.sampled_from(_TOOLS), st.integers(0, 1_000))
def test_more_uses_of_a_tool_never_cost_less(
    usage: TokenUsage, version: PriceVersion, tool: str, more: int
) -> None:
    uses = usage.tool_uses | {tool: usage.tool_uses.get(tool, 0) + more}
    later = replace(usage, tool_uses=uses)
    assert cost_of(later, version).cost_nusd >= cost_of(usage, version).cost_nusd


@given(
    _usages, _cards, st.integers(0, 20_000_000), st.sampled_from(_CLASSES), st.integers(1, 10**7)
)
def test_more_tokens_never_cost_less_across_a_threshold_with_higher_rates(
    usage: TokenUsage, card: Rates, threshold: int, token_class: str, more: int
) -> None:
    given_rates = {name: getattr(card, name) for name in card.__struct_fields__}
    doubled = replace(card, **{name: r * 2 for name, r in given_rates.items() if r is not None})
    tiers = (Tier(rates=doubled, above_input_tokens=threshold),)
    version = price(rates=card, tiers=tiers)
    later = plus(usage, token_class, more)
    assert cost_of(later, version).cost_nusd >= cost_of(usage, version).cost_nusd


@given(_usages, _prices)
def test_unreported_tokens_cost_the_same_as_zero(usage: TokenUsage, version: PriceVersion) -> None:
    zeros = {name: getattr(usage, name) or 0 for name in _CLASSES}
    assert cost_of(replace(usage, **zeros), version) == cost_of(usage, version)


@given(_usages, _prices)
def test_the_rates_are_those_of_the_version(usage: TokenUsage, version: PriceVersion) -> None:
    assert rates_for(version, usage) in [version.rates, *(tier.rates for tier in version.tiers)]


@given(_usages, _prices)
def test_the_order_of_the_tiers_does_not_matter(usage: TokenUsage, version: PriceVersion) -> None:
    unique = {(t.service_tier, t.above_input_tokens): t for t in version.tiers}
    tiers = tuple(unique.values())
    forwards, backwards = replace(version, tiers=tiers), replace(version, tiers=tiers[::-1])
    assert cost_of(usage, forwards) == cost_of(usage, backwards)


@given(_usages, _flat)
def test_the_fast_path_agrees_with_the_lines(usage: TokenUsage, version: PriceVersion) -> None:
    assert cost_nusd(usage, version) == round(exact(usage, version) * 10**9)
