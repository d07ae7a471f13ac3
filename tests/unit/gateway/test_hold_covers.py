"""No call costs more than its hold, whatever its request brings about within its own limits."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from libs.common.domain.call_cost import cost_of_call
from libs.common.domain.tool_fees import WEB_SEARCH
from libs.common.schemas.price import PriceVersion
from libs.common.schemas.usage import ModelRun, RunRole, TokenCounts, TokenUsage
from libs.common.storage.prices.price_map import PriceMap
from services.gateway.admission.hold_amount import hold_amount
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.formats import FORMATS

_DEFAULT_OUTPUT = 4_096
_ADVISER, _OTHER = "claude-opus-5", "claude-opus-4-8"
_WEEK_START = datetime(2026, 11, 23, tzinfo=UTC)
_PROVIDERS = {"messages": "anthropic", "responses": "openai"}
_MODELS = {
    "messages": ("claude-haiku-4-5", "claude-fable-5", "claude-opus-5-5", "claude-haiku-5-5"),
    "responses": ("gpt-5.5", "gpt-5.4", "gpt-6-sol", "gpt-4.1-mini"),
}


class Case(msgspec.Struct):
    """A request's body, and what the provider may report of it."""

    format: Any
    body: dict[str, Any]
    input_tokens: int
    usage: TokenUsage


@cache
def price_map() -> PriceMap:
    return PriceMap.open(None)


def price_of(provider: str, model: str) -> PriceVersion:
    found = price_map().find(provider, model)
    assert found is not None
    return found.price


@st.composite
def counts(draw: st.DrawFn, most_in: int, most_out: int, classes: tuple[str, ...]) -> Any:
    """At most so many in all, split over the classes."""
    remaining = draw(st.sampled_from((most_in, most_in // 2, 1)))
    tokens: dict[str, int] = {}
    for name in classes:
        tokens[name] = draw(st.sampled_from((0, remaining, remaining // 2)))
        remaining -= tokens[name]
    return {**tokens, "input_text": remaining, "output_text": draw(st.sampled_from((most_out, 0)))}


@st.composite
def messages(draw: st.DrawFn) -> Case:
    limit, size = draw(st.integers(1, 20_000)), draw(st.sampled_from((500, 150_000, 300_000)))
    body: dict[str, Any] = {
        "model": draw(st.sampled_from(_MODELS["messages"])),
        "max_tokens": limit,
    }
    block: dict[str, Any] = {"type": "text", "text": "Hi"}
    tools: list[dict[str, Any]] = []
    classes, runs = ["cache_read"], []
    ttl = draw(st.sampled_from((None, "5m", "1h")))
    if ttl is not None:
        block["cache_control"] = {"type": "ephemeral", "ttl": ttl}
        classes += ["cache_write_5m"] + (["cache_write_1h"] if ttl == "1h" else [])
    body["messages"] = [{"role": "user", "content": [block]}]

    def run(role: RunRole, model: str | None, most_out: int) -> ModelRun:
        tokens = draw(counts(size, most_out, ("cache_read",)))
        return ModelRun(role=role, model=model, **tokens)

    if draw(st.booleans()):
        uses, max_tokens = draw(st.integers(0, 3)), draw(st.none() | st.integers(1, 9_000))
        adviser = {"type": "advisor_20260301", "name": "a", "model": _ADVISER, "max_uses": uses}
        tools.append(adviser if max_tokens is None else {**adviser, "max_tokens": max_tokens})
        # Its own limit binds it, and the call's does not.
        most_out = _DEFAULT_OUTPUT if max_tokens is None else max_tokens
        runs += [run("advisor", _ADVISER, most_out) for _ in range(uses)]
    searches = None
    if draw(st.booleans()):
        most_uses = draw(st.none() | st.integers(0, 5))
        searches = draw(st.integers(0, 10 if most_uses is None else most_uses))
        search: dict[str, object] = {"type": "web_search_20250305", "name": "web_search"}
        tools.append(search if most_uses is None else {**search, "max_uses": most_uses})
    if draw(st.booleans()):
        body["context_management"] = {"edits": [{"type": "compact_20260112"}]}
        runs.append(run("compaction", None, limit))
    answer_model = None
    if draw(st.booleans()):
        body["fallbacks"] = [{"model": _OTHER}]
        answer_model = draw(st.sampled_from((None, _OTHER)))
    if draw(st.booleans()):
        body["speed"] = "fast"
    usage = TokenUsage(
        **draw(counts(size, limit, tuple(classes))),
        runs=tuple(runs),
        model=answer_model,
        web_searches=searches,
        speed=body.get("speed"),
        inference_geo=draw(st.sampled_from((None, "us", "global"))),
    )
    return Case("messages", {**body, "tools": tools}, size, usage)


@st.composite
def responses(draw: st.DrawFn) -> Case:
    limit, size = draw(st.integers(1, 20_000)), draw(st.sampled_from((500, 300_000)))
    requested_tier = draw(st.sampled_from((None, "auto", "default", "priority", "fast", "flex")))
    served_tier = requested_tier
    if requested_tier in (None, "auto"):
        served_tier = draw(st.sampled_from(("default", "priority", "fast")))
    body: dict[str, Any] = {
        "model": draw(st.sampled_from(_MODELS["responses"])),
        "input": "Hi",
        "max_output_tokens": limit,
    }
    if requested_tier is not None:
        body["service_tier"] = requested_tier
    classes = ["cache_read", "cache_write_30m"]
    if draw(st.booleans()):
        body["prompt_cache_options"] = {"ttl": "12h"}
        classes.append("cache_write_12h")
    max_tool_calls = draw(st.none() | st.integers(0, 4))
    if max_tool_calls is not None:
        body["max_tool_calls"] = max_tool_calls
    most_uses = 10 if max_tool_calls is None else max_tool_calls
    tools: list[dict[str, Any]] = []
    uses: dict[str, int] = {}
    for name in draw(st.sets(st.sampled_from((WEB_SEARCH, "web_search_preview", "file_search")))):
        tools.append({"type": name})
        uses[name] = draw(st.integers(0, most_uses))
    limit_gb = draw(st.sampled_from((None, "1g", "4g", "16g", "64g")))
    if limit_gb is not None:
        container = {"type": "auto", "memory_limit": limit_gb}
        tools.append({"type": "code_interpreter", "container": container})
        uses[f"container_{limit_gb}"] = draw(st.integers(0, min(most_uses, 1)))
    usage = TokenUsage(
        **draw(counts(size, limit, tuple(classes))),
        web_searches=uses.pop(WEB_SEARCH, None),
        tool_uses=uses,
        service_tier=served_tier,
    )
    return Case("responses", {**body, "tools": tools}, size, usage)


@settings(max_examples=3 * settings().max_examples)
@example(
    case=Case(
        "messages",
        {
            "model": "claude-haiku-4-5",
            "max_tokens": 1,
            "messages": [{"role": "user", "content": "Hi"}],
            "context_management": {"edits": [{"type": "compact_20260112"}]},
            "fallbacks": [{"model": _OTHER}],
        },
        500,
        # The fallback answers, and has shortened the context.
        TokenUsage(
            input_text=500,
            output_text=1,
            model=_OTHER,
            runs=(ModelRun(input_text=500, output_text=1, role="compaction"),),
        ),
    ),
    hour=0,
    multiplier=Decimal(1),
)
@given(
    case=st.one_of(messages(), responses()),
    hour=st.integers(0, 167),
    multiplier=st.sampled_from((Decimal(1), Decimal("1.25"))),
)
def test_no_call_costs_more_than_its_hold(case: Case, hour: int, multiplier: Decimal) -> None:
    request = FORMATS[case.format].decode(json.dumps(case.body).encode())
    provider, model = _PROVIDERS[case.format], case.body["model"]
    priced = PricedRequest(
        request=request,
        prices={"d": price_of(provider, model)},
        prices_of_models={"d": tuple(price_of(provider, each.name) for each in request.models)},
        input_tokens=case.input_tokens,
    )
    held = hold_amount(priced, multiplier, _DEFAULT_OUTPUT)
    charged = cost_of_call(
        case.usage,
        model,
        lambda other: price_of(provider, other or model),
        multiplier,
        _WEEK_START + timedelta(hours=hour),
    )
    assert charged.unpriced == ()
    assert charged.cost.cost_nusd <= held


def test_every_class_of_tokens_is_some_case() -> None:
    covered = {"input_text", "output_text", "cache_read", "cache_write_5m", "cache_write_1h"}
    covered |= {"cache_write_30m", "cache_write_12h"}
    elsewhere = {"input_audio", "input_image", "citation", "output_audio", "output_image"}
    assert set(TokenCounts.__struct_fields__) == covered | elsewhere | {"reasoning"}
