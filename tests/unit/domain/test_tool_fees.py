"""What the use of tools costs beside tokens."""

from decimal import Decimal
from typing import Any

import pytest

from libs.common.domain.pricing import cost_nusd, cost_of
from libs.common.domain.tool_fees import fee_of
from libs.common.schemas.entry import CostLine
from libs.common.schemas.usage import TokenUsage
from tests.unit.builders import price, rates

# developers.openai.com, pricing, 4 October 2026; gpt-4.1-mini's tokens are 0.40 and 1.60.
_FEES = {
    "web_search_preview": "0.025",
    "file_search": "0.0025",
    "container_1g": "0.03",
    "container_16g": "0.48",
}
_MINI = price(
    "gpt-4.1-mini",
    rates=rates(input="0.40", output="1.60"),
    web_search=Decimal("0.01"),
    tool_fees={tool: Decimal(usd) for tool, usd in _FEES.items()},
)
_TOKENS: dict[str, Any] = {"input_text": 1_000, "output_text": 100}
_PLAIN = 560_000


@pytest.mark.parametrize(
    ("used", "fees"),
    [
        ({}, 0),
        ({"web_searches": 2}, 20_000_000),
        ({"tool_uses": {"web_search_preview": 2}}, 50_000_000),
        ({"tool_uses": {"file_search": 2}}, 5_000_000),
        ({"tool_uses": {"container_16g": 1}}, 480_000_000),
        ({"tool_uses": {"file_search": 0}}, 0),
        ({"web_searches": 1, "tool_uses": {"file_search": 1, "container_1g": 2}}, 72_500_000),
    ],
)
def test_each_use_of_a_tool_costs_its_fee(used: dict[str, Any], fees: int) -> None:
    usage = TokenUsage(**_TOKENS, **used)
    cost = cost_of(usage, _MINI)
    assert cost.cost_nusd == cost_nusd(usage, _MINI) == _PLAIN + fees
    assert sum(line.amount for line in cost.lines) * 10**9 == cost.cost_nusd
    assert cost.notes == ()


def test_a_tool_without_a_fee_shows_as_free_and_marks_the_cost() -> None:
    cost = cost_of(TokenUsage(tool_uses={"x_search": 3}), _MINI)
    assert cost.lines == (
        CostLine(item="x_search", quantity=3, rate=Decimal(0), amount=Decimal(0)),
    )
    assert cost.notes == ("tool_fee_missing",)


def test_an_explicit_zero_is_a_fee() -> None:
    version = price(tool_fees={"x_search": Decimal(0)}, web_search=Decimal(0))
    assert cost_of(TokenUsage(tool_uses={"x_search": 3}, web_searches=1), version).notes == ()


def test_fees_without_one_of_their_own() -> None:
    assert fee_of(_MINI, "web_search_preview") == Decimal("0.025")
    assert fee_of(price(web_search=Decimal("0.01")), "web_search_preview") == Decimal("0.01")
    assert fee_of(_MINI, "container") == fee_of(_MINI, "container_128g") == Decimal("0.48")
    assert fee_of(price(tool_fees={"container": Decimal(1)}), "container_4g") == 1
    assert fee_of(price(), "web_search") is None
    assert fee_of(_MINI, "web_fetch") is None
    # A name that a price uses for requests is not a tool's.
    assert fee_of(price(), "request") is None


# docs.perplexity.ai, sonar: 1 / 1 a million tokens and 5, 8 or 12 per 1,000 requests by size.
_SONAR = price(
    "sonar",
    rates=rates(input="1", output="1"),
    web_search=Decimal(0),
    tool_fees={
        "request_low": Decimal("0.005"),
        "request_medium": Decimal("0.008"),
        "request_high": Decimal("0.012"),
    },
)


@pytest.mark.parametrize(
    ("sizes", "item", "usd"),
    [
        ({}, "request_low", "0.005411"),
        ({"request_low": 1}, "request_low", "0.005411"),
        ({"request_medium": 1}, "request_medium", "0.008411"),
        ({"request_high": 1}, "request_high", "0.012411"),
        ({"request_huge": 0}, "request_low", "0.005411"),
    ],
)
def test_a_request_costs_by_the_size_of_its_context(
    sizes: dict[str, int], item: str, usd: str
) -> None:
    """9 and 402 tokens."""
    usage = TokenUsage(input_text=9, output_text=402, web_searches=1, tool_uses=sizes)
    cost = cost_of(usage, _SONAR)
    assert cost.cost_nusd == Decimal(usd) * 10**9
    assert cost.lines[-1].item == item


def test_a_fee_for_any_request_is_charged_once() -> None:
    version = price(tool_fees={"request": Decimal("0.05")})
    assert cost_nusd(TokenUsage(), version) == 50_000_000


def test_multipliers_apply_to_fees_and_surcharges_do_not() -> None:
    version = price(
        tool_fees={"file_search": Decimal("0.0025")},
        surcharges={"us": Decimal("1.1")},
        multiplier=Decimal(2),
    )
    usage = TokenUsage(tool_uses={"file_search": 1}, inference_geo="us")
    assert cost_nusd(usage, version, Decimal("0.5")) == 2_500_000


def test_a_price_may_be_what_the_provider_says() -> None:
    version = price(basis="provider_reported", multiplier=Decimal("1.055"))
    usage = TokenUsage(input_text=9, provider_cost_usd=Decimal("0.00014"), web_searches=3)
    cost = cost_of(usage, version, Decimal(2))
    line = CostLine(
        item="provider_reported", quantity=1, rate=Decimal("0.00014"), amount=Decimal("0.00014")
    )
    assert (cost.lines, cost.notes) == ((line,), ())
    # 0.00014 x 1.055 x 2
    assert cost.cost_nusd == cost_nusd(usage, version, Decimal(2)) == 295_400


def test_a_cost_that_the_provider_does_not_tell_is_that_of_the_rates() -> None:
    version = price(basis="provider_reported")
    cost = cost_of(TokenUsage(input_text=1_000_000), version)
    assert (cost.cost_nusd, cost.notes) == (3_000_000_000, ("provider_cost_missing",))
    free = cost_of(TokenUsage(input_text=1_000_000, provider_cost_usd=Decimal(0)), version)
    assert (free.cost_nusd, free.notes) == (0, ())


def test_a_reported_cost_is_ignored_by_a_price_of_rates() -> None:
    usage = TokenUsage(input_text=1_000_000, provider_cost_usd=Decimal(1_000))
    assert cost_nusd(usage, price()) == 3_000_000_000
