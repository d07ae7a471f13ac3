"""Factors on the price of tokens, by how a call was served."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from libs.common.domain.pricing import cost_nusd, cost_of
from libs.common.domain.served_terms import surcharges_for
from libs.common.schemas.entry import CostLine
from libs.common.schemas.usage import TokenUsage
from tests.unit.builders import price, rates, tier
from tests.unit.domain.test_holds import hold

_MILLION = 1_000_000
_SURCHARGES = {"us": Decimal("1.1"), "fast": Decimal(2)}


@pytest.mark.parametrize(
    ("served", "names"),
    [
        ({}, []),
        ({"speed": "standard", "inference_geo": "global"}, []),
        ({"inference_geo": "not_available"}, []),
        ({"speed": "fast"}, ["fast"]),
        ({"inference_geo": "us"}, ["us"]),
        ({"inference_geo": "US"}, ["us"]),
        ({"speed": "fast", "inference_geo": "us"}, ["us", "fast"]),
        # What the price knows nothing of is not a reason to charge more, nor is one for the other.
        ({"inference_geo": "eu"}, []),
        ({"speed": "us", "inference_geo": "fast"}, []),
    ],
)
def test_surcharges_depend_on_how_the_call_was_served(
    served: dict[str, Any], names: list[str]
) -> None:
    version = price(surcharges=_SURCHARGES)
    usage = TokenUsage(input_text=_MILLION, **served)
    assert list(surcharges_for(version, usage)) == names
    factors = {"us": Decimal("1.1"), "fast": Decimal(2)}
    expected = 3_000_000_000
    for name in names:
        expected = int(expected * factors[name])
    assert cost_nusd(usage, version) == expected
    assert cost_nusd(usage, price()) == 3_000_000_000


def test_surcharges_apply_to_tokens_of_any_tier_but_not_to_searches() -> None:
    version = price(
        tiers=(tier(service_tier="priority", input="6", output="30"),),
        web_search=Decimal("0.01"),
        surcharges=_SURCHARGES,
        multiplier=Decimal("0.5"),
    )
    usage = TokenUsage(
        input_text=1_000,
        output_text=10,
        web_searches=1,
        service_tier="priority",
        speed="fast",
        inference_geo="us",
    )
    cost = cost_of(usage, version, Decimal(3))
    assert cost.lines == (
        CostLine(item="input_text", quantity=1_000, rate=Decimal("13.2"), amount=Decimal("0.0132")),
        CostLine(item="output_text", quantity=10, rate=Decimal(66), amount=Decimal("0.00066")),
        CostLine(item="web_search", quantity=1, rate=Decimal("0.01"), amount=Decimal("0.01")),
    )
    assert cost.multiplier == Decimal("1.5")
    assert cost.cost_nusd == 23_860_000 * Decimal("1.5")


def test_any_valid_surcharge_is_computed_exactly() -> None:
    """The longest digits of everything at once, which must not be refused as inexact."""
    longest = Decimal("999.999999")
    version = price(
        rates=rates(input="999999.999999999999", output="999999.999999999999"),
        surcharges={"fast": longest, "us": longest},
        multiplier=longest,
    )
    usage = TokenUsage(
        input_text=2**53 - 1, output_text=2**53 - 1, speed="fast", inference_geo="us"
    )
    cost = cost_of(usage, version, longest)
    micro_usd = sum(line.quantity * Fraction(line.rate) / 10**6 for line in cost.lines)
    assert cost.cost_nusd == round(micro_usd * Fraction(cost.multiplier) * 10**9)


@pytest.mark.parametrize(
    ("surcharges", "features", "usd"),
    [
        ({"fast": "2"}, {}, 18),
        ({"fast": "2"}, {"fast": True}, 36),
        # The model runs where a workspace's setting says, whatever the request asks for.
        ({"fast": "2", "us": "1.1", "eu": "1.2"}, {}, 21.6),
        ({"fast": "2", "us": "1.1", "eu": "1.2"}, {"fast": True}, 43.2),
        # What was asked for may not be served, so a discount is not held.
        ({"fast": "0.5", "us": "0.9"}, {"fast": True}, 18),
        ({}, {"fast": True}, 18),
    ],
)
def test_a_hold_is_for_the_dearest_surcharges_of_its_features(
    surcharges: dict[str, str], features: dict[str, Any], usd: float
) -> None:
    factors = {name: Decimal(factor) for name, factor in surcharges.items()}
    assert hold(price(surcharges=factors), **features) == round(usd * 10**9)


def test_searches_are_held_without_surcharges() -> None:
    version = price(provider="anthropic", web_search=Decimal("0.01"), surcharges={"us": Decimal(2)})
    assert hold(version, tools={"web_search": 3}) == hold(version) + 30_000_000
