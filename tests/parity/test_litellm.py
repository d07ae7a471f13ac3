"""Our cost equals litellm's for every model of its map that serves chat, messages or responses."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import msgspec
import pytest

from libs.common.domain.message_usage import usage_of_message
from libs.common.domain.pricing import cost_nusd, cost_of
from libs.common.domain.served_terms import surcharges_for
from libs.common.schemas.usage import TokenUsage
from libs.common.storage.prices.price_map import MapModel, PriceMap
from tests.parity.differences import DIFFERENCES, Difference
from tests.parity.oracle import LiteLLM, quiet
from tests.parity.payloads import Case, Convention, cases_of, our_usage
from tests.unit.storage.test_price_map import bundled_bytes

_MODES = ("chat", "responses")
# What floats lose when a litellm sums products of them.
_FLOAT_ERROR = 1e-9
_ALL: tuple[Convention, ...] = ("chat", "responses", "messages")


@pytest.fixture(scope="module")
def litellm() -> Iterator[LiteLLM]:
    with quiet():
        yield LiteLLM()


@pytest.fixture(scope="module")
def models() -> list[MapModel]:
    price_map = PriceMap.open(None)
    found = [price_map.get(name) for name in price_map.names()]
    return [model for model in found if model is not None and model.mode in _MODES]


def grid(model: MapModel, conventions: tuple[Convention, ...]) -> Iterator[Case]:
    thresholds = sorted({tier.above_input_tokens for tier in model.price.tiers} - {0})
    tiers = {tier.service_tier for tier in model.price.tiers if tier.service_tier is not None}
    for convention in conventions:
        yield from cases_of(convention, thresholds, [None, *sorted(tiers)])


def natural(model: MapModel) -> Convention:
    """The one in which the model's provider reports."""
    if model.mode == "responses":
        return "responses"
    claude = model.provider == "anthropic" or "claude" in model.price.model
    return "messages" if claude else "chat"


def usd(usage: TokenUsage, model: MapModel) -> float:
    """Before it is rounded to nano-USD."""
    return float(sum((line.amount for line in cost_of(usage, model.price).lines), Decimal(0)))


def differs(litellm: LiteLLM, model: MapModel, case: Case) -> str | None:
    theirs = litellm.usd(model.price.model, model.provider, case)
    ours = usd(our_usage(case), model)
    if abs(ours - theirs) <= _FLOAT_ERROR * max(ours, theirs):
        return None
    return f"{model.price.model}: {ours} is not {theirs} for {case}"


def explained(model: MapModel, case: Case) -> Difference | None:
    for difference in DIFFERENCES:
        if difference.applies(model.price, case):
            return difference
    return None


def compare(
    litellm: LiteLLM, models: list[MapModel], conventions: tuple[Convention, ...] | None
) -> tuple[list[str], Counter[str]]:
    """What differs without an explanation, and how often each explanation was needed."""
    unexplained: list[str] = []
    needed: Counter[str] = Counter()
    for model in models:
        for case in grid(model, (natural(model),) if conventions is None else conventions):
            found = differs(litellm, model, case)
            if found is None:
                continue
            difference = explained(model, case)
            if difference is None:
                unexplained.append(found)
            else:
                needed[difference.name] += 1
    return unexplained, needed


def test_every_model_costs_what_litellm_says(litellm: LiteLLM, models: list[MapModel]) -> None:
    unexplained, needed = compare(litellm, models, None)
    assert unexplained == []
    assert set(needed) == {difference.name for difference in DIFFERENCES}
    assert len(models) > 2_500


@pytest.mark.parametrize("convention", _ALL)
def test_every_convention_costs_what_litellm_says(
    litellm: LiteLLM, models: list[MapModel], convention: Convention
) -> None:
    """Of the providers whose own conventions these are, which translate into all the others."""
    chosen = [m for m in models if m.provider in ("openai", "anthropic", "gemini", "xai")]
    unexplained, _ = compare(litellm, chosen, (convention,))
    assert unexplained == []
    assert len(chosen) > 200


@pytest.mark.parametrize("convention", ["messages", "chat"])
def test_surcharges_are_what_litellm_charges(
    litellm: LiteLLM, models: list[MapModel], convention: Convention
) -> None:
    """Chat's are of calls that litellm translated."""
    chosen = [m for m in models if m.provider == "anthropic"]
    raised: Counter[tuple[str, ...]] = Counter()
    for model in chosen:
        for case, speed, region in product(
            grid(model, (convention,)),
            (None, "standard", "fast", "FAST"),
            (None, "global", "not_available", "us", "US", "eu"),
        ):
            if case.service_tier != "batch" and explained(model, case) is None:
                surcharged = msgspec.structs.replace(case, speed=speed, inference_geo=region)
                assert differs(litellm, model, surcharged) is None
        usage = TokenUsage(input_text=1, speed="fast", inference_geo="us")
        raised[tuple(sorted(surcharges_for(model.price, usage)))] += 1
    # Fast mode is there for a few models, a region for most of the newer ones.
    assert raised.keys() == {(), ("us",), ("fast", "us")}
    assert {m.provider for m in models if m.price.surcharges} == {
        "anthropic",
        "bedrock",
        "openai",
        "vertex_ai",
        "xai",
    }


def test_a_batch_in_a_dearer_region_costs_more(litellm: LiteLLM, models: list[MapModel]) -> None:
    """By Anthropic's page the two apply together; litellm's batches know no regions."""
    [model] = [m for m in models if m.price.model == "claude-sonnet-5"]
    batch = Case(convention="messages", service_tier="batch")
    theirs = litellm.usd(model.price.model, model.provider, batch)
    usage = our_usage(msgspec.structs.replace(batch, inference_geo="us"))
    assert usd(usage, model) == pytest.approx(1.1 * theirs, rel=_FLOAT_ERROR)


def test_searches_cost_what_litellm_says(litellm: LiteLLM, models: list[MapModel]) -> None:
    searching: Counter[str] = Counter()
    for model in models:
        # Where its map has no fee litellm knows one for Google; here such calls are refused.
        if model.provider == "anthropic" or (
            model.provider in ("gemini", "vertex_ai") and model.price.web_search is not None
        ):
            theirs = litellm.searches_usd(model.price.model, model.provider, 3)
            ours = usd(TokenUsage(web_searches=3), model)
            if theirs == 0 and model.provider == "anthropic":
                # Rows without a fee: searches are free at litellm, and not at Anthropic.
                assert ours == pytest.approx(0.03)
            else:
                assert ours == pytest.approx(theirs, rel=_FLOAT_ERROR)
            searching[model.provider] += theirs > 0
    assert len(searching) == 3
    assert min(searching.values()) > 10


def test_models_without_a_price_are_free_or_half_free_at_litellm(models: list[MapModel]) -> None:
    """They are refused here: nothing is free by accident."""
    rows: dict[str, dict[str, Any]] = json.loads(bundled_bytes())
    priced = {model.price.model for model in models}
    for name, row in rows.items():
        if row.get("mode") in _MODES and name not in priced:
            assert not (row.get("input_cost_per_token") and "output_cost_per_token" in row), name


def test_cache_writes_outside_a_partial_split_are_charged(
    litellm: LiteLLM, models: list[MapModel]
) -> None:
    """The two parts are less than the total written."""
    payload = {
        "input_tokens": 100,
        "cache_creation_input_tokens": 1_000,
        "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200},
        "output_tokens": 10,
    }
    [model] = [m for m in models if m.price.model == "claude-sonnet-4-5"]
    usage = usage_of_message(payload)
    total_usd = litellm.usd_of_message(model.price.model, model.provider, payload)
    assert usd(usage, model) == pytest.approx(total_usd, rel=_FLOAT_ERROR)
    assert usage.cache_write_5m == 800


def test_every_hour_of_a_week_costs_what_litellm_says(
    litellm: LiteLLM, models: list[MapModel]
) -> None:
    rows = json.loads(bundled_bytes())
    chosen = [m for m in models if "off_peak_pricing" in rows[m.price.model]]
    usage = our_usage(case := Case(convention="chat", cached=4_000))
    charged: set[int] = set()
    for model, hour in product(chosen, range(7 * 24)):
        moment = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(hours=hour, minutes=59)
        ours = cost_nusd(usage, model.price, at=moment)
        with litellm.at(moment):
            theirs = litellm.usd(model.price.model, model.provider, case)
        assert abs(ours - theirs * 1e9) <= 1, (model.price.model, moment)
        charged.add(ours)
    assert {model.provider for model in chosen} == {"deepseek", "tencent"}
    # Two models, each with a peak and an off-peak price.
    assert len(charged) == 4
