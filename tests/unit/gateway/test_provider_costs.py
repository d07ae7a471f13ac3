"""A provider's answer costs what its page says, by the prices that come with the product."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache

import msgspec

from libs.common.domain.call_cost import cost_of_call
from libs.common.domain.holds import BillableFeatures, hold_nusd
from libs.common.domain.token_classes import total_input, total_output
from libs.common.schemas.price import PriceVersion
from libs.common.schemas.usage import TokenUsage
from libs.common.storage.prices.price_map import PriceMap
from services.gateway.formats import FORMATS
from tests.support.provider_costs import ProviderCost, provider_costs


def usage_of(row: ProviderCost) -> TokenUsage:
    usage = FORMATS[row.format].usage_of_answer(json.dumps(row.answer).encode())
    assert usage is not None
    return usage


_ROWS = provider_costs()
# Models beside a call's own are held for by themselves.
_OF_ONE_MODEL = [row for row in _ROWS if not usage_of(row).runs]
# A Tuesday noon, for prices that are the same at any time.
_NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@cache
def price_map() -> PriceMap:
    return PriceMap.open(None)


def cost_nusd(row: ProviderCost) -> int:
    usage = usage_of(row)
    if row.region is not None:
        usage = msgspec.structs.replace(usage, inference_geo=row.region)

    def price_of(model: str | None) -> PriceVersion | None:
        found = price_map().find(row.provider, row.model if model is None else model)
        return None if found is None else found.price

    charged = cost_of_call(usage, row.model, price_of, Decimal(1), row.at or _NOON)
    assert charged.unpriced == ()
    return charged.cost.cost_nusd


def test_an_answer_costs_what_its_providers_page_says() -> None:
    page_nusd = {row.name: row.usd * 10**9 for row in _ROWS}
    assert {row.name: cost_nusd(row) for row in _ROWS} == page_nusd
    assert {row.name: round(row.computed_usd() * 10**9) for row in _ROWS} == page_nusd


def features_for(usage: TokenUsage) -> BillableFeatures:
    """What the request must have had in it, for the provider to answer so."""
    tools = dict(usage.tool_uses)
    if usage.web_searches:
        tools["web_search"] = usage.web_searches
    return BillableFeatures(
        cache_writes=True,
        long_writes=True,
        audio_input=bool(usage.input_audio),
        audio_output=bool(usage.output_audio),
        tools=tools,
        fast=usage.speed == "fast",
    )


def held_nusd(row: ProviderCost) -> int:
    """Without knowing the tier that a project's setting chose, the hour, or the region."""
    usage, found = usage_of(row), price_map().find(row.provider, row.model)
    assert found is not None
    unasked = usage.service_tier in ("priority", "fast")
    return hold_nusd(
        found.price,
        input_tokens=total_input(usage),
        output_tokens=total_output(usage),
        service_tier=None if unasked else usage.service_tier,
        features=features_for(usage),
    )


def test_a_hold_covers_what_an_answer_costs() -> None:
    held = {row.name: (held_nusd(row), row.usd * 10**9) for row in _OF_ONE_MODEL}
    assert {name: found for name, found in held.items() if found[0] < found[1]} == {}


def test_provider_costs_cover_enough_prices_and_providers() -> None:
    assert len(_ROWS) >= 120
    assert len({row.provider for row in _ROWS}) >= 8
    assert len({row.name for row in _ROWS}) == len(_ROWS)
    assert all(row.page.startswith("https://") for row in _ROWS)
