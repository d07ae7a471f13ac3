"""What holds for every price and every usage."""

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from libs.common.domain.money import round_to_nusd
from libs.common.domain.pricing import cost_nusd, cost_of, rates_for
from libs.common.schemas.entry import CostLine
from libs.common.schemas.price import PriceVersion, Rates, Tier
from libs.common.schemas.usage import TokenUsage
from tests.unit.builders import price

_INPUT = (
    "input_text",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "input_image",
)
_OUTPUT = ("output_text", "reasoning", "output_audio", "output_image")
_CLASSES = _INPUT + _OUTPUT

_rates = st.decimals(0, 1_000, places=6, allow_nan=False)
_tokens = st.none() | st.integers(0, 10_000_000)
_cards = st.builds(
    Rates,
    input=_rates,
    output=_rates,
    **{
        name: st.none() | _rates
        for name in ("cache_read", "cache_write_5m", "cache_write_1h", *_INPUT[4:], *_OUTPUT[1:])
    },
)
_usages: st.SearchStrategy[TokenUsage] = st.builds(
    TokenUsage,
    **dict.fromkeys(_CLASSES, _tokens),
    web_searches=st.none() | st.integers(0, 100),
    service_tier=st.sampled_from([None, "flex", "priority"]),
)
_flat = st.builds(lambda card, search: price(rates=card, web_search=search), _cards, _rates)
_tiers = st.builds(
    Tier,
    rates=_cards,
    above_input_tokens=st.sampled_from([0, 1_000, 1_000_000]),
    service_tier=st.sampled_from([None, "flex", "priority"]),
)
_prices = st.builds(
    lambda version, tiers: replace(version, tiers=tuple(tiers)), _flat, st.lists(_tiers, max_size=4)
)


def exact(usage: TokenUsage, version: PriceVersion) -> Decimal:
    return sum((line.amount for line in cost_of(usage, version).lines), Decimal(0))


def plus(usage: TokenUsage, token_class: str, more: int) -> TokenUsage:
    return replace(usage, **{token_class: (getattr(usage, token_class) or 0) + more})


@given(_usages, _prices)
def test_the_cost_is_the_sum_of_its_lines_rounded_once(
    usage: TokenUsage, version: PriceVersion
) -> None:
    cost = cost_of(usage, version)
    assert abs(cost.cost_nusd - exact(usage, version) * 10**9) <= Decimal("0.5")


@given(_usages, _prices)
def test_each_line_can_be_recomputed(usage: TokenUsage, version: PriceVersion) -> None:
    for line in cost_of(usage, version).lines:
        per = 1 if line.item == "web_search" else 1_000_000
        recomputed = Decimal(line.quantity) * line.rate / per
        assert line == CostLine(
            item=line.item,
            quantity=getattr(usage, "web_searches" if per == 1 else line.item),
            rate=line.rate,
            amount=recomputed,
        )


@given(_usages, _prices)
def test_a_cost_is_never_negative(usage: TokenUsage, version: PriceVersion) -> None:
    assert cost_of(usage, version).cost_nusd >= 0


@given(_usages, _flat)
def test_the_cost_is_additive_over_the_classes(usage: TokenUsage, version: PriceVersion) -> None:
    alone = [TokenUsage(**{name: getattr(usage, name)}) for name in (*_CLASSES, "web_searches")]
    assert exact(usage, version) == sum(exact(part, version) for part in alone)


@given(st.lists(_usages, max_size=8), _flat)
def test_counting_calls_together_or_apart_gives_the_same_amount(
    usages: list[TokenUsage], version: PriceVersion
) -> None:
    names = (*_CLASSES, "web_searches")
    summed: dict[str, Any] = {
        name: sum(getattr(usage, name) or 0 for usage in usages) for name in names
    }
    assert exact(TokenUsage(**summed), version) == sum(exact(usage, version) for usage in usages)


@given(_usages, _flat, st.sampled_from(_CLASSES), st.integers(0, 1_000_000))
def test_more_tokens_never_cost_less(
    usage: TokenUsage, version: PriceVersion, token_class: str, more: int
) -> None:
    later = plus(usage, token_class, more)
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
def test_what_is_not_reported_costs_what_none_costs(
    usage: TokenUsage, version: PriceVersion
) -> None:
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
def test_the_short_way_comes_to_what_the_lines_sum_to(
    usage: TokenUsage, version: PriceVersion
) -> None:
    lines = cost_of(usage, version).lines
    total = sum((line.amount for line in lines), Decimal(0))
    assert cost_nusd(usage, version) == round_to_nusd(total)
