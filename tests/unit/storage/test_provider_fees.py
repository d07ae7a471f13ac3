"""The fees that come with the product."""

from datetime import date
from decimal import Decimal

import pytest

from libs.common.domain.tool_fees import fee_of
from libs.common.storage.prices.price_map import MapModel, PriceMap
from libs.common.storage.prices.provider_fees import (
    PROVIDER_FEES,
    provider_fees,
    with_provider_fees,
)
from tests.unit.builders import price

# What Codex and Claude Code may offer to any model.
_OPENAI_TOOLS = ("web_search", "web_search_preview", "file_search", "container_64g", "container")
_ANTHROPIC_TOOLS = ("web_search", "web_fetch", "code_execution")


@pytest.fixture(scope="module")
def price_map() -> PriceMap:
    return PriceMap.open(None)


@pytest.fixture(scope="module")
def map_models(price_map: PriceMap) -> list[MapModel]:
    return [model for name in price_map.names() if (model := price_map.get(name)) is not None]


@pytest.mark.parametrize(
    ("provider", "tools"), [("openai", _OPENAI_TOOLS), ("anthropic", _ANTHROPIC_TOOLS)]
)
def test_every_model_of_the_map_can_be_called_with_its_providers_tools(
    map_models: list[MapModel], provider: str, tools: tuple[str, ...]
) -> None:
    models = [m for m in map_models if m.provider == provider and m.mode in ("chat", "responses")]
    lacking = [m.price.model for m in models for t in tools if fee_of(m.price, t) is None]
    assert lacking == []
    assert len(models) > 15


@pytest.mark.parametrize(
    ("model", "tool", "usd"),
    [
        # The map says 0.025 for both tools; that is the preview's.
        ("gpt-4.1-mini", "web_search", "0.01"),
        ("gpt-4.1-mini", "web_search_preview", "0.025"),
        ("gpt-5.4", "web_search", "0.01"),
        ("gpt-5.4", "web_search_preview", "0.01"),
        ("gpt-5.2-codex", "web_search", "0.01"),
        ("gpt-4o-search-preview", "web_search", "0.025"),
        ("gpt-4o-mini-search-preview-2025-03-11", "web_search", "0.025"),
        ("gpt-5-search-api", "web_search", "0.01"),
        ("claude-haiku-4-5", "web_search", "0.01"),
        ("claude-haiku-4-5", "web_fetch", "0"),
        ("xai/grok-4.7", "x_search", "0.005"),
        ("xai/grok-4.7", "collections_search", "0.0025"),
        # By the map: no provider of the table.
        ("gemini/gemini-3-flash-preview", "maps_grounding", "0.014"),
        ("azure/gpt-5.5", "web_search", "0.014"),
    ],
)
def test_a_model_has_its_providers_fees(
    price_map: PriceMap, model: str, tool: str, usd: str
) -> None:
    found = price_map.get(model)
    assert found is not None
    assert fee_of(found.price, tool) == Decimal(usd)


def test_a_prices_own_fees_beat_the_providers() -> None:
    own_price = price(web_search=Decimal(0), tool_fees={"file_search": Decimal(1)})
    filled = with_provider_fees(own_price, "openai", "gpt-4o")
    assert fee_of(filled, "web_search") == 0
    assert fee_of(filled, "file_search") == 1
    assert fee_of(filled, "container_4g") == Decimal("0.12")


def test_other_servers_that_speak_openais_formats_have_no_fees_of_openais() -> None:
    version = price("grok-4")
    assert with_provider_fees(version, "openai", "grok-4") is version
    assert with_provider_fees(version, "*", "gpt-4o") is version
    assert provider_fees("openai", "llama-3") == {}


def test_each_figure_names_its_page_and_day() -> None:
    for fee in PROVIDER_FEES:
        assert fee.page.startswith("https://")
        assert date(2026, 6, 1) <= fee.read_on <= date(2026, 11, 29)
        assert 0 <= fee.usd <= 2
