"""The usage of translated calls, which is what is billed."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from libs.common.domain.message_usage import usage_of_message
from libs.common.domain.usage import usage_of_openai
from libs.common.schemas.usage import ClientFormat, TokenUsage
from services.gateway.upstream.adapters.target import TranslationTarget
from services.gateway.upstream.adapters.translator import Translator
from tests.service.gateway.translation_calls import (
    FORMATS,
    JSON_ANSWERS,
    SSE_ANSWERS,
    completed,
    streamed,
)
from tests.service.gateway.translation_wire import (
    ANTHROPIC_EVENTS,
    ANTHROPIC_MESSAGE,
    ANTHROPIC_USAGE,
    CHAT_CHUNKS,
    CHAT_COMPLETION,
    Answer,
    TranslatedProvider,
    anthropic_sse,
    chat_sse,
    events_of,
    serving,
)


@pytest.fixture
async def provider() -> AsyncIterator[TranslatedProvider]:
    async with serving() as provider:
        yield provider


@pytest.fixture
async def translator() -> AsyncIterator[Translator]:
    translator = Translator()
    yield translator
    await translator.close()


def tokens(client_format: ClientFormat, usage: Any, tier: str | None = None) -> TokenUsage:
    """What the gateway will meter, by the client format's convention."""
    if client_format == "messages":
        return usage_of_message(usage)
    return usage_of_openai(usage, tier)


def counts(usage: TokenUsage) -> dict[str, int | None]:
    return {
        "input_text": usage.input_text,
        "cache_read": usage.cache_read,
        "cache_write": sum(
            filter(None, (usage.cache_write_5m, usage.cache_write_1h, usage.cache_write_30m))
        ),
        "cache_write_1h": usage.cache_write_1h or 0,
        "output_text": usage.output_text,
        "reasoning": usage.reasoning,
    }


def call_counts(name: str) -> dict[str, int | None]:
    """What both providers say of one and the same call; only Anthropic tells 1-hour writes."""
    return {
        "input_text": 10,
        "cache_read": 200,
        "cache_write": 30,
        "cache_write_1h": 10 if name == "anthropic" else 0,
        "output_text": 43,
        "reasoning": 7,
    }


def stream_usage(client_format: ClientFormat, frames: list[bytes]) -> Any:
    events = events_of(frames)
    if client_format == "chat":
        assert events[-1]["choices"] == []
        assert all(event["usage"] is None for event in events[:-1])
        return events[-1]["usage"]
    if client_format == "responses":
        return events[-1]["response"]["usage"]
    assert events[-1]["type"] == "message_stop"
    return events[-2]["usage"]


@pytest.mark.parametrize("name", ["anthropic", "openai"])
@pytest.mark.parametrize("client_format", FORMATS)
async def test_json_usage_keeps_every_token_class(
    translator: Translator, provider: TranslatedProvider, client_format: ClientFormat, name: str
) -> None:
    provider.answer = JSON_ANSWERS[name]
    answer = await completed(translator, provider, client_format, name)
    assert counts(tokens(client_format, answer["usage"])) == call_counts(name)


@pytest.mark.parametrize("name", ["anthropic", "openai"])
@pytest.mark.parametrize("client_format", FORMATS)
async def test_stream_usage_keeps_every_token_class(
    translator: Translator, provider: TranslatedProvider, client_format: ClientFormat, name: str
) -> None:
    provider.answer = SSE_ANSWERS[name]
    frames = await streamed(translator, provider, client_format, name)
    assert counts(tokens(client_format, stream_usage(client_format, frames))) == call_counts(name)


async def test_cumulative_usage_of_a_stream_is_not_added_up(
    translator: Translator, provider: TranslatedProvider
) -> None:
    *events, delta, stop = ANTHROPIC_EVENTS
    final = {
        "input_tokens": 1_000,
        "cache_creation_input_tokens": 40,
        "cache_read_input_tokens": 300,
        "output_tokens": 60,
        "server_tool_use": {"web_search_requests": 2},
    }
    provider.answer = Answer(anthropic_sse([*events, {**delta, "usage": final}, stop]))
    frames = await streamed(translator, provider, "chat", "anthropic")
    usage = stream_usage("chat", frames)
    assert usage["prompt_tokens"] == 1_340
    assert usage["completion_tokens"] == 60
    assert usage["prompt_tokens_details"]["cached_tokens"] == 300
    assert usage["prompt_tokens_details"]["cache_write_tokens"] == 40
    assert usage["server_tool_use"] == {"web_search_requests": 2}


SEARCHING: dict[ClientFormat, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Hi"}], "web_search_options": {}},
    "messages": {
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    },
    "responses": {"input": "Hi", "tools": [{"type": "web_search"}]},
}


@pytest.mark.parametrize("client_format", FORMATS)
async def test_searches_counted_among_the_tokens(
    translator: Translator, provider: TranslatedProvider, client_format: ClientFormat
) -> None:
    """Google says what was searched for, which LiteLLM counts."""
    candidate = {
        "content": {"role": "model", "parts": [{"text": "Rain."}]},
        "finishReason": "STOP",
        "groundingMetadata": {"webSearchQueries": ["weather", "rain", "oslo"]},
    }
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    provider.answer = Answer({"candidates": [candidate], "usageMetadata": usage})
    target = TranslationTarget(
        provider="gemini",
        model="gemini-2.5-flash",
        api_base=provider.url,
        api_key="k",
        timeout_s=5,
    )

    answer = await translator.complete(client_format, target, SEARCHING[client_format])

    (_, _, body) = provider.requests[0]
    assert body["tools"] == [{"googleSearch": {}}]
    assert tokens(client_format, json.loads(answer)["usage"]).web_searches == 3


@pytest.mark.parametrize("client_format", FORMATS)
async def test_unreported_usage_of_a_stream_stays_unreported(
    translator: Translator, provider: TranslatedProvider, client_format: ClientFormat
) -> None:
    provider.answer = Answer(chat_sse(CHAT_CHUNKS[:-1]))
    events = events_of(await streamed(translator, provider, client_format, "openai"))
    if client_format == "chat":
        assert all(event["usage"] is None and event["choices"] for event in events)
    elif client_format == "responses":
        assert events[-1]["type"] == "response.completed"
        assert events[-1]["response"]["usage"] is None
    else:
        assert events[-2]["usage"] == {"input_tokens": 0, "output_tokens": 0}


@pytest.mark.parametrize("client_format", FORMATS)
async def test_unreported_usage_of_an_answer_stays_unreported(
    translator: Translator, provider: TranslatedProvider, client_format: ClientFormat
) -> None:
    unmetered = {name: value for name, value in CHAT_COMPLETION.items() if name != "usage"}
    provider.answer = Answer(unmetered)
    answer = await completed(translator, provider, client_format, "openai")
    unreported = {"input_tokens": 0, "output_tokens": 0} if client_format == "messages" else None
    assert answer.get("usage") == unreported


@pytest.mark.parametrize("client_format", ["chat", "responses"])
async def test_the_region_served_is_reported(
    translator: Translator, provider: TranslatedProvider, client_format: ClientFormat
) -> None:
    """A workspace's setting may have it run where it costs more, whatever the request says."""
    fields = {"inference_geo": "us", "speed": "standard"}
    usage = {**ANTHROPIC_USAGE, **fields}
    provider.answer = Answer(ANTHROPIC_MESSAGE | {"usage": usage})
    answer = await completed(translator, provider, client_format, "anthropic")
    metered = tokens(client_format, answer["usage"])
    assert (metered.inference_geo, metered.speed) == ("us", "standard")

    start, *events = ANTHROPIC_EVENTS
    start = {**start, "message": {**start["message"], "usage": usage | {"output_tokens": 1}}}
    provider.answer = Answer(anthropic_sse([start, *events]))
    frames = await streamed(translator, provider, client_format, "anthropic")
    metered = tokens(client_format, stream_usage(client_format, frames))
    assert (metered.inference_geo, metered.speed) == ("us", "standard")


@pytest.mark.parametrize(
    ("client_format", "tier"), [("chat", "priority"), ("responses", "priority")]
)
async def test_the_served_tier_is_reported(
    translator: Translator, provider: TranslatedProvider, client_format: ClientFormat, tier: str
) -> None:
    provider.answer = JSON_ANSWERS["anthropic"]
    answer = await completed(translator, provider, client_format, "anthropic")
    assert answer["service_tier"] == tier
    provider.answer = SSE_ANSWERS["anthropic"]
    last = events_of(await streamed(translator, provider, client_format, "anthropic"))[-1]
    assert last.get("response", last)["service_tier"] == tier
