from decimal import Decimal

import pytest
from msgspec.structs import replace

from libs.common.domain.pricing import cost_nusd, cost_of, multiplier_problem
from libs.common.domain.served_terms import rates_for, tier_for
from libs.common.domain.token_classes import total_tokens
from libs.common.schemas.entry import CostLine
from libs.common.schemas.price import PriceVersion, Tier
from libs.common.schemas.usage import TokenUsage
from tests.unit.builders import price, rates, tier

# A million tokens cost what the rate says, so the cost names the rate that was taken.
_MILLION = 1_000_000
_EVERY_RATE = {
    "input": "1",
    "output": "2",
    "cache_read": "3",
    "cache_write_5m": "4",
    "cache_write_1h": "5",
    "reasoning": "6",
    "input_audio": "7",
    "input_image": "8",
    "output_audio": "9",
    "output_image": "10",
}
_RATE_OF = {"input_text": "input", "output_text": "output"}
_FALLBACKS = [
    ("cache_read", "input"),
    ("cache_write_5m", "input"),
    ("cache_write_1h", "cache_write_5m"),
    ("reasoning", "output"),
    ("input_audio", "input"),
    ("input_image", "input"),
    ("output_audio", "output"),
    ("output_image", "output"),
]
_TOKEN_CLASSES = ["input_text", "output_text", *dict(_FALLBACKS)]


def usd(usage: TokenUsage, version: PriceVersion) -> Decimal:
    return Decimal(cost_of(usage, version).cost_nusd) / 10**9


def million(token_class: str) -> TokenUsage:
    return replace(TokenUsage(), **{token_class: _MILLION})


@pytest.mark.parametrize("token_class", _TOKEN_CLASSES)
def test_each_class_of_tokens_has_its_own_rate(token_class: str) -> None:
    version = price(rates=rates(**_EVERY_RATE))
    expected = Decimal(_EVERY_RATE[_RATE_OF.get(token_class, token_class)])
    assert usd(million(token_class), version) == expected


@pytest.mark.parametrize(("token_class", "fallback"), _FALLBACKS)
def test_a_missing_rate_falls_back(token_class: str, fallback: str) -> None:
    version = price(rates=rates(**(_EVERY_RATE | {token_class: None})))
    assert usd(million(token_class), version) == Decimal(_EVERY_RATE[fallback])


def test_an_hour_long_cache_write_falls_back_to_input_in_the_end() -> None:
    version = price(rates=rates(input="3"))
    assert usd(million("cache_write_1h"), version) == 3


@pytest.mark.parametrize(("token_class", "fallback"), _FALLBACKS)
def test_an_explicit_zero_is_a_price(token_class: str, fallback: str) -> None:
    version = price(rates=rates(**(_EVERY_RATE | {token_class: "0"})))
    assert usd(million(token_class), version) == 0


def test_the_lines_explain_the_cost() -> None:
    usage = TokenUsage(
        input_text=1_000, cache_read=500, output_text=200, reasoning=0, web_searches=2
    )
    version = price(rates=rates(input="3", output="15"), web_search=Decimal("0.01"))
    cost = cost_of(usage, version)
    assert cost.lines == (
        CostLine(item="input_text", quantity=1_000, rate=Decimal(3), amount=Decimal("0.003")),
        CostLine(item="cache_read", quantity=500, rate=Decimal(3), amount=Decimal("0.0015")),
        CostLine(item="output_text", quantity=200, rate=Decimal(15), amount=Decimal("0.003")),
        CostLine(item="web_search", quantity=2, rate=Decimal("0.01"), amount=Decimal("0.02")),
    )
    assert cost.cost_nusd == 27_500_000


def test_a_search_without_a_fee_is_listed_at_zero() -> None:
    cost = cost_of(TokenUsage(web_searches=3), price())
    nothing = CostLine(item="web_search", quantity=3, rate=Decimal(0), amount=Decimal(0))
    assert (cost.lines, cost.cost_nusd) == ((nothing,), 0)


@pytest.mark.parametrize(("searches", "charged"), [(None, 0), (0, 0), (1, 1), (5, 1)])
def test_a_search_fee_can_be_per_call(searches: int | None, charged: int) -> None:
    version = price(web_search=Decimal("0.035"), web_search_per="call")
    cost = cost_of(TokenUsage(web_searches=searches), version)
    assert cost.cost_nusd == charged * 35_000_000
    assert [line.quantity for line in cost.lines] == [charged] * charged


def test_the_sum_is_rounded_once_and_not_each_line() -> None:
    # Each line is 0.4 nano-USD, which would round to nothing.
    version = price(rates=rates(input="0.0004", output="0.0004"))
    usage = TokenUsage(input_text=1, cache_read=1, output_text=1)
    assert cost_of(usage, version).cost_nusd == 1


def test_tokens_of_all_classes_are_counted_and_nothing_else() -> None:
    counts = {name: 10**at for at, name in enumerate(_TOKEN_CLASSES)}
    usage = TokenUsage(**counts, web_searches=5, service_tier="flex", speed="fast")
    assert total_tokens(usage) == 1_111_111_111
    assert total_tokens(TokenUsage(output_image=3)) == 3
    assert total_tokens(TokenUsage()) == 0


def test_nothing_reported_costs_nothing() -> None:
    cost = cost_of(TokenUsage(), price())
    assert (cost.cost_nusd, cost.lines) == (0, ())


_LONG = (
    tier(above=200_000, input="6", output="22.5"),
    tier(above=500_000, input="9", output="30"),
)


@pytest.mark.parametrize(
    ("usage", "input_rate"),
    [
        (TokenUsage(input_text=200_000), "3"),
        (TokenUsage(input_text=200_001), "6"),
        (TokenUsage(input_text=500_000), "6"),
        (TokenUsage(input_text=500_001), "9"),
        # Cached tokens and every other class of input count.
        (TokenUsage(input_text=1, cache_read=200_000), "6"),
        (TokenUsage(input_text=0, cache_write_5m=100_000, cache_write_1h=100_000), "3"),
        (TokenUsage(input_text=1, cache_write_5m=100_000, cache_write_1h=100_000), "6"),
        (TokenUsage(input_text=1, input_audio=100_000, input_image=100_000), "6"),
        # Output does not.
        (TokenUsage(input_text=200_000, output_text=900_000, reasoning=900_000), "3"),
    ],
)
def test_a_threshold_is_crossed_only_above_it(usage: TokenUsage, input_rate: str) -> None:
    assert rates_for(price(tiers=_LONG), usage).input == Decimal(input_rate)
    assert rates_for(price(tiers=_LONG[::-1]), usage).input == Decimal(input_rate)


def test_crossing_a_threshold_re_rates_the_whole_call() -> None:
    usage = TokenUsage(input_text=200_001, output_text=_MILLION)
    assert usd(usage, price(tiers=_LONG)) == Decimal("1.200006") + Decimal("22.5")


_SERVICE = (
    tier(service_tier="flex", input="1.5"),
    tier(service_tier="priority", input="6"),
    tier(service_tier="priority", above=200_000, input="12"),
    tier(above=200_000, input="4"),
)


@pytest.mark.parametrize(
    ("service_tier", "tokens", "input_rate"),
    [
        (None, 10, "3"),
        ("default", 10, "3"),
        ("standard", 10, "3"),
        ("flex", 10, "1.5"),
        ("priority", 10, "6"),
        ("priority", 200_000, "6"),
        ("priority", 200_001, "12"),
        (None, 200_001, "4"),
        ("default", 200_001, "4"),
        # A service tier with rates of its own never falls back to another one's threshold.
        ("flex", 200_001, "1.5"),
    ],
)
def test_the_service_tier_served_decides_the_rates(
    service_tier: str | None, tokens: int, input_rate: str
) -> None:
    usage = TokenUsage(input_text=tokens, service_tier=service_tier)
    assert rates_for(price(tiers=_SERVICE), usage).input == Decimal(input_rate)


def test_a_service_tier_with_a_threshold_alone_falls_back_below_it() -> None:
    tiers: tuple[Tier, ...] = (tier(service_tier="priority", above=100, input="12"),)
    usage = TokenUsage(input_text=100, service_tier="priority")
    assert rates_for(price(tiers=tiers), usage).input == 3


def test_a_cost_is_the_sum_of_its_lines_times_both_multipliers() -> None:
    version = price(web_search=Decimal("0.01"), multiplier=Decimal("1.2"))
    usage = TokenUsage(input_text=1_000, output_text=200, web_searches=2)
    cost = cost_of(usage, version, Decimal("0.5"))
    # The lines stay the list price.
    assert [line.amount for line in cost.lines] == [Decimal(t) for t in ("0.003", "0.003", "0.02")]
    assert cost.multiplier == Decimal("0.6")
    assert cost.cost_nusd == 26_000_000 * Decimal("0.6")
    assert cost_nusd(usage, version, Decimal("0.5")) == cost.cost_nusd


def test_a_multiplied_cost_is_still_rounded_once() -> None:
    version = price(rates=rates(input="0.001"), multiplier=Decimal("0.5"))
    # Half a nano-dollar each; rounded before it is multiplied, the second would come to 2.
    costs = [cost_nusd(TokenUsage(input_text=tokens), version) for tokens in (1, 3, 5)]
    assert costs == [0, 2, 2]


def test_the_tier_that_applied_is_reported() -> None:
    flex, long = tier(service_tier="flex", input="1"), tier(above=1_000, input="6")
    version = price(tiers=(flex, long))
    assert tier_for(version, TokenUsage(input_text=1_000)) is None
    assert tier_for(version, TokenUsage(input_text=900, cache_read=101)) == long
    assert tier_for(version, TokenUsage(input_text=5_000, service_tier="flex")) == flex


@pytest.mark.parametrize("served", ["default", "standard", "auto", "scale", ""])
def test_a_service_tier_without_rates_costs_the_standard_rates(served: str) -> None:
    version = price(tiers=(tier(service_tier="priority", input="9"),))
    assert rates_for(version, TokenUsage(input_text=1, service_tier=served)) == version.rates


@pytest.mark.parametrize(
    ("multiplier", "problem"),
    [
        ("0", None),
        ("1.000001", None),
        ("1000", None),
        ("1E+3", None),
        ("1000.000001", "between"),
        ("-0.1", "between"),
        ("1.0000001", "decimals"),
        ("1E-900000", "decimals"),
        ("NaN", "finite"),
        ("sNaN", "finite"),
        ("Infinity", "finite"),
        ("1E900000", "between"),
    ],
)
def test_a_multiplier_has_bounds(multiplier: str, problem: str | None) -> None:
    found = multiplier_problem(Decimal(multiplier))
    assert found == problem if problem is None else problem in (found or "")


def test_no_product_within_the_bounds_has_to_be_rounded() -> None:
    finest = Decimal("999.999999")
    version = price(rates=rates(input="999999.999999999999"), multiplier=finest)
    cost_of(TokenUsage(input_text=2**53), version, finest)
