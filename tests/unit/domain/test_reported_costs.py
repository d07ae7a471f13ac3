"""What odd reports cost, worked out by hand, at rates from the pages of their providers."""

from decimal import Decimal
from typing import Any

import pytest

from libs.common.domain.money import nusd_to_usd
from libs.common.domain.pricing import cost_nusd
from libs.common.schemas.price import PriceVersion, Rates
from libs.common.schemas.usage import TokenUsage
from tests.unit.builders import price
from tests.unit.domain.test_usage import chat, message, response


def at(usd_in: str, usd_out: str, **rates: str) -> PriceVersion:
    other_rates = {name: Decimal(usd) for name, usd in rates.items()}
    return price(rates=Rates(input=Decimal(usd_in), output=Decimal(usd_out), **other_rates))


# USD per million: xAI's page (grok-4, Sep 2026), OpenAI's (gpt-4.1-mini, Oct 2026).
GROK = at("3", "15", cache_read="0.75")
MINI = at("0.4", "1.6", cache_read="0.1")
# Perplexity's page (sonar-deep-research, 2026), 5 per 1,000 searches.
DEEP = price(
    rates=Rates(input=Decimal(2), output=Decimal(8), citation=Decimal(2), reasoning=Decimal(3)),
    web_search=Decimal("0.005"),
)
# OpenAI's page of gpt-6.2-sol (Nov 2026): written for 30 minutes 2.50, for 12 hours 5.
SOL = at("2", "10", cache_read="0.1", cache_write_30m="2.5", cache_write_12h="5")

XAI = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135}
XAI["completion_tokens_details"] = {"reasoning_tokens": 94}  # type: ignore[assignment]
LONG = {
    "prompt_tokens": 10120,
    "prompt_tokens_details": {"cached_tokens": 128},
    "completion_tokens_details": {"reasoning_tokens": 2809},
}
RESEARCH = {
    "prompt_tokens": 19,
    "completion_tokens": 498,
    "total_tokens": 517,
    "citation_tokens": 10175,
    "num_search_queries": 48,
    "reasoning_tokens": 95305,
}
WRITTEN = {
    "input_tokens": 1000,
    "output_tokens": 100,
    "input_tokens_details": {
        "cached_tokens": 100,
        "cache_write_tokens": 600,
        "cache_write_tokens_details": {"ttl_30m_tokens": 200, "ttl_12h_tokens": 400},
    },
}


@pytest.mark.parametrize(
    ("usage", "version", "usd"),
    [
        # 32 x 3 + 103 x 15.
        (chat(XAI), GROK, "0.001641"),
        # 9,992 x 3 + 128 x 0.75 + 6,809 x 15.
        (chat(LONG | {"completion_tokens": 4000, "total_tokens": 16929}), GROK, "0.132207"),
        # 20 x 3 + 603 x 15.
        (
            chat({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}),
            GROK,
            "0.009105",
        ),
        # 9,992 x 0.4 + 128 x 0.1 + 4,308 x 1.6.
        (chat(LONG | {"completion_tokens": 1499, "total_tokens": 14428}), MINI, "0.0109024"),
        # 19 x 2 + 498 x 8 + 10,175 x 2 + 95,305 x 3, and 48 x 0.005.
        (chat(RESEARCH), DEEP, "0.550287"),
        # 100 x 0.4 + 900 x 0.1 + 50 x 1.6.
        (
            chat({"prompt_tokens": 1000, "completion_tokens": 50, "prompt_cache_hit_tokens": 900}),
            MINI,
            "0.00021",
        ),
        # 300 x 2 + 100 x 0.1 + 200 x 2.5 + 400 x 5 + 100 x 10.
        (response(WRITTEN), SOL, "0.00411"),
        # Counts written in another way: 1,000 x 3 + 50 x 15.
        (message({"input_tokens": 1000.0, "output_tokens": "50"}), GROK, "0.00375"),
    ],
)
def test_costs_of_reports(usage: TokenUsage, version: PriceVersion, usd: str) -> None:
    assert nusd_to_usd(cost_nusd(usage, version)) == Decimal(usd)


def test_the_same_tokens_cost_the_same_in_each_convention() -> None:
    inside: dict[str, Any] = {
        "prompt_tokens": 32,
        "completion_tokens": 103,
        "completion_tokens_details": {"reasoning_tokens": 94},
    }
    assert cost_nusd(chat(inside), GROK) == cost_nusd(chat(XAI), GROK)
