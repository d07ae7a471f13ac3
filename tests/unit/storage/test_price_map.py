import json
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from libs.common.domain.hosted_tools import DEFAULT_IMAGE_MODEL
from libs.common.domain.price_lookup import find_price
from libs.common.domain.pricing import cost_of
from libs.common.domain.served_terms import rates_for
from libs.common.schemas.price import Rates
from libs.common.schemas.usage import TokenUsage
from libs.common.storage.prices.price_map import MAP_FILE, MapModel, NotPriced, PriceMap
from tests.unit.builders import NOW

_IMAGES = "image_generation"
_ROW: dict[str, Any] = {
    "litellm_provider": "acme",
    "mode": "chat",
    "input_cost_per_token": 3e-06,
    "output_cost_per_token": 1.5e-05,
}


def map_of(**rows: Any) -> PriceMap:
    return PriceMap(json.dumps(rows).encode())


def rates_of(row: dict[str, Any]) -> Rates:
    model = map_of(model=row).get("model")
    assert model is not None
    return model.price.rates


def bundled_bytes() -> bytes:
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / MAP_FILE).read_bytes()


@pytest.fixture(scope="module")
def bundled() -> PriceMap:
    return PriceMap.open(None)


@pytest.fixture(scope="module")
def rows(bundled: PriceMap) -> dict[str, MapModel | NotPriced]:
    """All of the bundled map, which takes a moment to read."""
    models = {name: bundled.read(name) for name in bundled.names()}
    return {name: row for name, row in models.items() if row is not None}


# What the providers' price pages say, in USD per million tokens.
@pytest.mark.parametrize(
    ("provider", "model", "rates"),
    [
        ("openai", "gpt-4o", {"input": "2.5", "output": "10", "cache_read": "1.25"}),
        ("openai", "gpt-4o-mini", {"input": "0.15", "output": "0.6", "cache_read": "0.075"}),
        ("openai", "gpt-5", {"input": "1.25", "output": "10", "cache_read": "0.125"}),
        ("openai", "o3", {"input": "2", "output": "8", "cache_read": "0.5"}),
        ("openai", "text-embedding-3-small", {"input": "0.02", "output": "0"}),
        (
            "anthropic",
            "claude-sonnet-4-5",
            {
                "input": "3",
                "output": "15",
                "cache_read": "0.3",
                "cache_write_5m": "3.75",
                "cache_write_1h": "6",
            },
        ),
        ("gemini", "gemini-2.5-pro", {"input": "1.25", "output": "10", "cache_read": "0.125"}),
    ],
)
def test_well_known_models_cost_what_their_providers_say(
    bundled: PriceMap, provider: str, model: str, rates: dict[str, str]
) -> None:
    found = bundled.find(provider, model)
    assert found is not None
    expected: dict[str, Any] = {name: Decimal(usd) for name, usd in rates.items()}
    assert found.price.rates == Rates(**expected)
    assert found.price.source == "litellm"
    assert find_price([found.price], provider, model, NOW) == found.price


@pytest.mark.parametrize(
    ("service_tier", "tokens", "usd"),
    [
        (None, 200_000, "1.25"),
        (None, 200_001, "2.5"),
        ("priority", 200_000, "2.25"),
        ("priority", 200_001, "4.5"),
        ("flex", 200_000, "0.625"),
        ("flex", 200_001, "1.25"),
        ("standard", 200_001, "2.5"),
    ],
)
def test_a_model_with_both_kinds_of_tiers(
    bundled: PriceMap, service_tier: str | None, tokens: int, usd: str
) -> None:
    found = bundled.find("gemini", "gemini-2.5-pro")
    assert found is not None
    usage = TokenUsage(input_text=tokens, service_tier=service_tier)
    assert rates_for(found.price, usage).input == Decimal(usd)


def test_no_float_touches_a_price_of_the_bundled_map(
    rows: dict[str, MapModel | NotPriced],
) -> None:
    raw = json.loads(bundled_bytes(), parse_float=Decimal, parse_int=Decimal)
    count = 0
    for name, row in rows.items():
        if isinstance(row, NotPriced):
            continue
        count += 1
        if "tiered_pricing" in raw[name]:
            continue
        assert row.price.rates.input == raw[name]["input_cost_per_token"] * 1_000_000
        otherwise = raw[name]["output_cost_per_image_token"] if row.mode == _IMAGES else Decimal(0)
        expected = raw[name].get("output_cost_per_token", otherwise) * 1_000_000
        assert row.price.rates.output == expected
        cost_of(TokenUsage(input_text=1, cache_write_1h=1, output_image=1), row.price)
    assert count > 2_000


def test_models_without_text_are_unpriced_in_the_bundled_map(bundled: PriceMap) -> None:
    assert bundled.get("sample_spec") is None
    assert bundled.get("dall-e-3") is None
    assert bundled.get("whisper-1") is None
    assert bundled.get("no such model") is None


def test_a_model_that_draws_is_priced_by_its_tokens(bundled: PriceMap) -> None:
    """developers.openai.com, pricing: gpt-image-1 is 5 for text, 10 for images and 40 drawn."""
    found = bundled.get("gpt-image-1")
    assert found is not None
    usage = TokenUsage(input_text=100, input_image=1_000, output_image=4_160)
    assert cost_of(usage, found.price).cost_nusd == 500_000 + 10_000_000 + 166_400_000
    default = bundled.find("openai", DEFAULT_IMAGE_MODEL)
    assert default is not None
    # Not one that a client may call.
    assert not {"gpt-image-1", DEFAULT_IMAGE_MODEL} & set(bundled.names_of({"openai"}))


def test_a_model_is_found_under_its_own_provider_only(bundled: PriceMap) -> None:
    assert bundled.find("azure", "gpt-4o") != bundled.find("openai", "gpt-4o")
    assert bundled.find("anthropic", "gpt-4o") is None
    found = bundled.find("gemini", "gemini-2.5-pro")
    assert found is not None
    assert found.price.model == "gemini/gemini-2.5-pro"


def test_the_providers_and_the_models_that_are_served_can_be_listed(bundled: PriceMap) -> None:
    assert bundled.providers >= {"openai", "anthropic", "gemini"}
    names = bundled.names_of({"openai"})
    assert names == sorted(names)
    assert {"gpt-4o", "text-embedding-3-small"} <= set(names)
    assert not {"dall-e-3", "whisper-1", "claude-sonnet-4-5"} & set(names)


def test_every_rate_of_a_row_is_read() -> None:
    row = _ROW | {
        "cache_read_input_token_cost": 3e-07,
        "cache_creation_input_token_cost": 3.75e-06,
        "cache_creation_input_token_cost_above_1hr": 6e-06,
        "output_cost_per_reasoning_token": 1e-06,
        "input_cost_per_audio_token": 2e-06,
        "input_cost_per_image_token": 4e-06,
        "output_cost_per_audio_token": 5e-06,
        "output_cost_per_image_token": 7e-06,
    }
    assert rates_of(row) == Rates(
        input=Decimal(3),
        output=Decimal(15),
        cache_read=Decimal("0.3"),
        cache_write_5m=Decimal("3.75"),
        cache_write_1h=Decimal(6),
        reasoning=Decimal(1),
        input_audio=Decimal(2),
        input_image=Decimal(4),
        output_audio=Decimal(5),
        output_image=Decimal(7),
    )


def test_zero_is_a_rate_and_null_is_an_absent_one() -> None:
    row = _ROW | {"input_cost_per_token": 0.0, "cache_read_input_token_cost": None}
    assert rates_of(row) == Rates(input=Decimal(0), output=Decimal(15))


def test_a_tier_inherits_the_nearest_rate() -> None:
    row = _ROW | {
        "cache_read_input_token_cost": 3e-07,
        "input_cost_per_token_above_200k_tokens": 6e-06,
        "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05,
        "output_cost_per_token_priority": 3e-05,
        "input_cost_per_token_ultrafast": 9e-06,
        "input_cost_per_token_above_200k_tokens_priority": 8e-06,
    }
    model = map_of(model=row).get("model")
    assert model is not None
    rates_by_tier = {
        (t.service_tier, t.above_input_tokens): (t.rates.input, t.rates.output, t.rates.cache_read)
        for t in model.price.tiers
    }
    expected = {
        (None, 200_000): ("6", "15"),
        ("priority", 0): ("3", "30"),
        ("priority", 200_000): ("8", "30"),
        ("ultrafast", 0): ("9", "15"),
        ("ultrafast", 200_000): ("6", "15"),
    }
    assert rates_by_tier == {
        key: (Decimal(input_rate), Decimal(output_rate), Decimal("0.3"))
        for key, (input_rate, output_rate) in expected.items()
    }
    assert {tier.rates.cache_write_1h for tier in model.price.tiers} == {None, 12}


def test_searches_cost_what_the_medium_context_costs() -> None:
    search = {"search_context_size_low": 0.03, "search_context_size_medium": 0.035}
    model = map_of(model=_ROW | {"search_context_cost_per_query": search}).get("model")
    assert model is not None
    assert model.price.web_search == Decimal("0.035")


def test_one_provider_charges_for_requests_by_their_context() -> None:
    """docs.perplexity.ai, 2026: sonar has a fee per request, deep research one per search."""
    search = {"search_context_size_low": 0.005, "search_context_size_medium": 0.008}
    row = {"search_context_cost_per_query": search, "litellm_provider": "perplexity"}
    model = map_of(sonar=_ROW | row).get("sonar")
    assert model is not None
    assert model.price.web_search == 0
    assert model.price.tool_fees == {
        "request_low": Decimal("0.005"),
        "request_medium": Decimal("0.008"),
    }
    model = map_of(**{"sonar-deep-research": _ROW | row}).get("sonar-deep-research")
    assert model is not None
    assert (model.price.web_search, model.price.tool_fees) == (Decimal("0.008"), {})


@pytest.mark.parametrize(
    ("provider", "unit", "per"),
    [
        ("gemini", None, "call"),
        ("gemini", "per_prompt", "call"),
        ("gemini", "per_query", "search"),
        ("vertex_ai-language-models", None, "call"),
        ("vertex_ai-anthropic_models", None, "search"),
        ("anthropic", None, "search"),
    ],
)
def test_the_search_fee_is_per_search_or_per_call(
    provider: str, unit: str | None, per: str
) -> None:
    row = {"litellm_provider": provider, "web_search_billing_unit": unit}
    model = map_of(model=_ROW | row).get("model")
    assert model is not None
    assert model.price.web_search_per == per


@pytest.mark.parametrize(
    "change",
    [
        {"input_cost_per_token": None},
        {"output_cost_per_token": None},
        {"mode": "image_generation"},
        {"mode": None},
        {"mode": 7},
        {"litellm_provider": None},
        {"max_output_tokens": "many"},
        {"input_cost_per_token": "a lot"},
        {"input_cost_per_token": [1]},
        {"input_cost_per_token": -1e-06},
        {"input_cost_per_token": "NaN"},
        {"input_cost_per_token": "Infinity"},
        {"input_cost_per_token": 1e300},
        {"output_cost_per_token_above_200k_tokens": {}},
    ],
)
def test_an_invalid_row_is_unpriced(change: dict[str, Any]) -> None:
    prices = map_of(odd=_ROW | change, fine=_ROW)
    assert prices.get("odd") is None
    assert prices.get("fine") is not None


@pytest.mark.parametrize("row", [None, [], "text", 7])
def test_a_row_that_is_not_an_object_is_unpriced(row: object) -> None:
    prices = map_of(odd=row, fine=_ROW)
    assert prices.get("odd") is None
    assert prices.providers == {"acme"}


def test_an_embedding_needs_no_output_rate() -> None:
    row = {name: value for name, value in _ROW.items() if name != "output_cost_per_token"}
    assert map_of(model=row).get("model") is None
    assert rates_of(row | {"mode": "embedding"}).output == 0


def test_a_price_id_names_the_version_of_the_map() -> None:
    first, second = map_of(model=_ROW), map_of(model=_ROW, other=_ROW)
    prices = [prices.get("model") for prices in (first, map_of(model=_ROW), second)]
    ids = [model.price.price_id for model in prices if model is not None]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith("litellm:model@")


def test_a_map_can_be_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"model": _ROW}))
    prices = PriceMap.open(str(file))
    assert (len(prices), list(prices.names())) == (1, ["model"])


@pytest.mark.parametrize(
    ("row", "reason", "field"),
    [
        ({**_ROW, "mode": "rerank"}, "not_by_tokens", None),
        ({**_ROW, "mode": None}, "not_by_tokens", None),
        ({**_ROW, "litellm_provider": ""}, "no_provider", None),
        ({**_ROW, "output_cost_per_token": None}, "no_rates", None),
        ({**_ROW, "input_cost_per_token": -1}, "unreadable", "input_cost_per_token"),
        ({**_ROW, "input_cost_per_token": "dear"}, "unreadable", "input_cost_per_token"),
        ({**_ROW, "input_cost_per_token_flex": [1]}, "unreadable", "input_cost_per_token_flex"),
        ({**_ROW, "tiered_pricing": 5}, "unreadable", "tiered_pricing"),
        ({**_ROW, "tiered_pricing": [{"range": [0, 9]}]}, "unreadable", "tiered_pricing"),
        ({**_ROW, "max_output_tokens": "many"}, "unreadable", None),
        (
            {
                **_ROW,
                "litellm_provider": "anthropic",
                "provider_specific_entry": {"us": -1},
            },
            "unreadable",
            "provider_specific_entry.us",
        ),
        ([], "unreadable", None),
        # What no cost could be computed from exactly, or in reasonable time.
        ({**_ROW, "input_cost_per_token": 1e-30}, "unreadable", "input_cost_per_token"),
        ({**_ROW, "input_cost_per_token": 1e4}, "unreadable", "input_cost_per_token"),
        (
            {**_ROW, **{f"input_cost_per_token_above_{n}_tokens": 1 for n in range(17)}},
            "unreadable",
            "above_16_tokens",
        ),
        ({**_ROW, "tiered_pricing": [{"range": [1e30, 1e31]}]}, "unreadable", "tiered_pricing"),
        (
            {**_ROW, "search_context_cost_per_query": {"search_context_size_medium": -1}},
            "unreadable",
            "search_context_cost_per_query.search_context_size_medium",
        ),
        ({**_ROW, "max_output_tokens": 10**30}, "unreadable", None),
    ],
)
def test_a_row_without_a_price_has_a_reason(row: Any, reason: str, field: str | None) -> None:
    rows = map_of(model=row)
    not_priced = rows.read("model")
    assert isinstance(not_priced, NotPriced)
    assert (not_priced.reason, not_priced.field) == (reason, field)
    assert not_priced.message
    assert rows.get("model") is None


def test_every_row_of_the_bundled_map_is_read(rows: dict[str, MapModel | NotPriced]) -> None:
    unpriced = [row for row in rows.values() if isinstance(row, NotPriced)]
    assert [row for row in unpriced if row.reason == "unreadable"] == []


@pytest.mark.parametrize(
    ("row", "speaks"),
    [
        ({"comment": "At 50% of list until 2026-12-31; these are the list rates."}, True),
        ({"metadata": {"notes": "Promotional rates in effect through November 21, 2026."}}, True),
        ({"metadata": {"comment": "Update the rows when the discount ends."}}, True),
        ({"metadata": {"notes": "Read from the price page on 2026-10-27."}}, False),
        ({"metadata": ["until 2027-01-01"], "comment": 5}, False),
        ({"deprecation_date": "2026-12-31"}, False),
        ([], False),
    ],
)
def test_a_price_for_a_time_is_known_by_its_note(row: Any, speaks: bool) -> None:
    assert (map_of(model=row).note("model") is not None) is speaks
    assert map_of(model=row).note("other") is None


@pytest.mark.parametrize(
    ("written", "provider"),
    [
        ("bedrock", "bedrock"),
        ("bedrock_converse", "bedrock"),
        ("bedrock_mantle", "bedrock_mantle"),
        ("vertex_ai", "vertex_ai"),
        ("vertex_ai-language-models", "vertex_ai"),
        ("vertex_ai-anthropic_models", "vertex_ai"),
        ("fireworks_ai-embedding-models", "fireworks_ai"),
        ("openai", "openai"),
    ],
)
def test_kinds_of_models_are_of_one_provider(written: str, provider: str) -> None:
    price_map = map_of(model=_ROW | {"litellm_provider": written, "supports_vision": True})
    model = price_map.get("model")
    assert model is not None
    assert (model.provider, model.price.provider) == (provider, provider)
    assert price_map.providers == {provider}
    assert price_map.names_of([provider]) == ["model"]
    assert price_map.find(provider, "model") == model
    row = price_map.abilities(provider, "model")
    assert row is not None
    assert row["supports_vision"] is True
    assert price_map.abilities("another", "model") is None
    assert price_map.abilities(provider, "other") is None


def test_abilities_need_no_price() -> None:
    row = {"litellm_provider": "x", "mode": "image_generation", "supports_vision": True}
    assert map_of(model=row).abilities("x", "model") == row
