"""Translated calls against scripted providers: what they are sent, and what the client gets."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from libs.common.domain.usage import (
    ChatUsage,
    MessagesUsage,
    ResponsesUsage,
    usage_of_chat,
    usage_of_message,
    usage_of_response,
)
from libs.common.schemas.usage import TokenUsage
from services.gateway.upstream.translation.target import ClientFormat
from services.gateway.upstream.translation.translator import Translator
from tests.service.gateway.translation_wire import (
    ANTHROPIC_EVENTS,
    ANTHROPIC_MESSAGE,
    CHAT_CHUNKS,
    CHAT_COMPLETION,
    Answer,
    Provider,
    anthropic_sse,
    chat_chunk,
    chat_sse,
    events_of,
    serving,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* using the `ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PIXEL = "iVBORw0KGgo="
CHAT_BODY = {
    "model": "any",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hi"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            ],
        },
    ],
    "max_tokens": 100,
    "temperature": 0.5,
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}],
}
MESSAGES_BODY = {
    "model": "any",
    "system": "Be brief.",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hi"},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
                },
            ],
        }
    ],
    "max_tokens": 100,
    "stop_sequences": ["END"],
    "tools": [{"name": "weather", "input_schema": WEATHER}],
    "metadata": {"user_id": "u-1"},
}
RESPONSES_BODY = {
    "model": "any",
    "instructions": "Be brief.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Hi"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
            ],
        }
    ],
    "max_output_tokens": 100,
    "temperature": 0.5,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "k",
    "tools": [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}],
}
BODIES: Mapping[ClientFormat, Mapping[str, Any]] = {
    "chat": CHAT_BODY,
    "messages": MESSAGES_BODY,
    "responses": RESPONSES_BODY,
}
FORMATS: tuple[ClientFormat, ...] = ("chat", "messages", "responses")
JSON_ANSWERS = {"anthropic": Answer(ANTHROPIC_MESSAGE), "openai": Answer(CHAT_COMPLETION)}
SSE_ANSWERS = {"anthropic": Answer(anthropic_sse()), "openai": Answer(chat_sse())}


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with serving() as provider:
        yield provider


@pytest.fixture
async def translator() -> AsyncIterator[Translator]:
    translator = Translator()
    yield translator
    await translator.close()


async def completed(
    translator: Translator,
    provider: Provider,
    client_format: ClientFormat,
    name: str,
    body: Mapping[str, Any] | None = None,
) -> Any:
    asked = BODIES[client_format] if body is None else body
    return json.loads(await translator.complete(client_format, provider.target(name), asked))


async def streamed(
    translator: Translator,
    provider: Provider,
    client_format: ClientFormat,
    name: str,
    body: Mapping[str, Any] | None = None,
) -> list[bytes]:
    asked = BODIES[client_format] if body is None else body
    frames = await translator.stream(client_format, provider.target(name), asked)
    return [frame async for frame in frames]


def tokens(client_format: ClientFormat, usage: Any, tier: str | None = None) -> TokenUsage:
    """What the gateway will meter, by the client format's convention."""
    import msgspec

    if client_format == "chat":
        return usage_of_chat(msgspec.convert(usage, ChatUsage), tier)
    if client_format == "responses":
        return usage_of_response(msgspec.convert(usage, ResponsesUsage), tier)
    return usage_of_message(msgspec.convert(usage, MessagesUsage))


def counted(usage: TokenUsage) -> dict[str, int | None]:
    return {
        "input_text": usage.input_text,
        "cache_read": usage.cache_read,
        "cache_write": (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0),
        "cache_write_1h": usage.cache_write_1h or 0,
        "output_text": usage.output_text,
        "reasoning": usage.reasoning,
    }


def served(name: str) -> dict[str, int | None]:
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


# --- usage, which is what is billed ---


@pytest.mark.parametrize("name", ["anthropic", "openai"])
@pytest.mark.parametrize("client_format", FORMATS)
async def test_json_usage_keeps_every_token_class(
    translator: Translator, provider: Provider, client_format: ClientFormat, name: str
) -> None:
    provider.answer = JSON_ANSWERS[name]
    answer = await completed(translator, provider, client_format, name)
    assert counted(tokens(client_format, answer["usage"])) == served(name)


@pytest.mark.parametrize("name", ["anthropic", "openai"])
@pytest.mark.parametrize("client_format", FORMATS)
async def test_stream_usage_keeps_every_token_class(
    translator: Translator, provider: Provider, client_format: ClientFormat, name: str
) -> None:
    provider.answer = SSE_ANSWERS[name]
    frames = await streamed(translator, provider, client_format, name)
    assert counted(tokens(client_format, stream_usage(client_format, frames))) == served(name)


async def test_cumulative_usage_of_a_stream_is_not_added_up(
    translator: Translator, provider: Provider
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


@pytest.mark.parametrize("client_format", FORMATS)
async def test_unreported_usage_of_a_stream_is_not_made_up(
    translator: Translator, provider: Provider, client_format: ClientFormat
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
async def test_unreported_usage_of_an_answer_is_not_made_up(
    translator: Translator, provider: Provider, client_format: ClientFormat
) -> None:
    unmetered = {name: value for name, value in CHAT_COMPLETION.items() if name != "usage"}
    provider.answer = Answer(unmetered)
    answer = await completed(translator, provider, client_format, "openai")
    none = {"input_tokens": 0, "output_tokens": 0} if client_format == "messages" else None
    assert answer.get("usage") == none


@pytest.mark.parametrize(
    ("client_format", "tier"), [("chat", "priority"), ("responses", "priority")]
)
async def test_the_served_tier_is_told(
    translator: Translator, provider: Provider, client_format: ClientFormat, tier: str
) -> None:
    provider.answer = JSON_ANSWERS["anthropic"]
    answer = await completed(translator, provider, client_format, "anthropic")
    assert answer["service_tier"] == tier
    provider.answer = SSE_ANSWERS["anthropic"]
    last = events_of(await streamed(translator, provider, client_format, "anthropic"))[-1]
    assert last.get("response", last)["service_tier"] == tier


# --- answers in the client's format ---


async def test_chat_from_anthropic(translator: Translator, provider: Provider) -> None:
    answer = await completed(translator, provider, "chat", "anthropic")
    ChatCompletion.model_validate(answer)
    message = answer["choices"][0]["message"]
    assert message["content"] == "Hello"
    assert message["reasoning_content"] == "Rain?"
    (call,) = message["tool_calls"]
    assert set(call) == {"id", "type", "function"}
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert "provider_specific_fields" not in json.dumps(answer)
    assert "cost" not in answer["usage"]


async def test_chat_stream_from_anthropic(translator: Translator, provider: Provider) -> None:
    provider.answer = SSE_ANSWERS["anthropic"]
    frames = await streamed(translator, provider, "chat", "anthropic")
    assert frames[-1] == b"data: [DONE]\n\n"
    chunks = events_of(frames)
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert deltas[0]["role"] == "assistant"
    assert all("role" not in delta for delta in deltas[1:])
    assert all(value is not None for delta in deltas for value in delta.values())
    assert "".join(delta.get("content", "") for delta in deltas) == "Hello"
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert calls[0]["id"] == "toolu_1"
    assert {call["index"] for call in calls} == {0}
    arguments = "".join(call["function"].get("arguments", "") for call in calls)
    assert json.loads(arguments) == {"city": "Oslo"}
    finishes = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert [reason for reason in finishes if reason] == ["tool_calls"]


async def test_messages_from_openai(translator: Translator, provider: Provider) -> None:
    provider.answer = JSON_ANSWERS["openai"]
    answer = await completed(translator, provider, "messages", "openai")
    Message.model_validate(answer)
    assert answer["id"].startswith("msg_")
    assert answer["stop_reason"] == "tool_use"
    assert [block["type"] for block in answer["content"]] == ["text", "tool_use"]
    assert answer["content"][1]["input"] == {"city": "Oslo"}


async def test_messages_stream_from_openai(translator: Translator, provider: Provider) -> None:
    thinking = chat_chunk({"reasoning_content": "Rain?"})
    provider.answer = Answer(chat_sse([CHAT_CHUNKS[0], thinking, *CHAT_CHUNKS[1:]]))
    events = events_of(await streamed(translator, provider, "messages", "openai"))
    kinds = TypeAdapter[Any](RawMessageStreamEvent)
    for event in events:
        kinds.validate_python(event)
    assert [event["type"] for event in events if "content_block" not in event["type"]] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    blocks: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            assert event["content_block"].get("thinking", "") == ""
            blocks[event["index"]] = ""
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            blocks[event["index"]] += delta.get(
                "text", delta.get("partial_json", delta.get("thinking", ""))
            )
    assert list(blocks.values()) == ["Rain?", "Hello", '{"city": "Oslo"}']
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}


async def test_response_from_anthropic(translator: Translator, provider: Provider) -> None:
    answer = await completed(translator, provider, "responses", "anthropic")
    Response.model_validate(answer)
    assert answer["status"] == "completed"
    reasoning, message, call = answer["output"]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "Rain?"}]
    assert message["content"][0]["text"] == "Hello"
    assert call["call_id"] == "toolu_1"
    assert json.loads(call["arguments"]) == {"city": "Oslo"}
    assert answer["instructions"] == "Be brief."
    assert answer["store"] is False


@pytest.mark.parametrize("name", ["anthropic", "openai"])
async def test_response_stream(translator: Translator, provider: Provider, name: str) -> None:
    provider.answer = SSE_ANSWERS[name]
    events = events_of(await streamed(translator, provider, "responses", name))
    kinds = TypeAdapter[Any](ResponseStreamEvent)
    for event in events:
        kinds.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    names = [event["type"] for event in events]
    assert names[:2] == ["response.created", "response.in_progress"]
    assert names[-1] == "response.completed"
    text = [e["delta"] for e in events if e["type"] == "response.output_text.delta"]
    assert "".join(text) == "Hello"
    added = [e["output_index"] for e in events if e["type"] == "response.output_item.added"]
    done = [e for e in events if e["type"] == "response.output_item.done"]
    assert added == list(range(len(added))) == [e["output_index"] for e in done]
    assert events[-1]["response"]["output"] == [e["item"] for e in done]
    for opened in ("content_part", "reasoning_summary_part", "output_item"):
        assert names.count(f"response.{opened}.added") == names.count(f"response.{opened}.done")


async def test_an_answer_cut_by_its_limit_is_an_incomplete_response(
    translator: Translator, provider: Provider
) -> None:
    chunks = [*CHAT_CHUNKS[:3], chat_chunk({}, finish_reason="length"), CHAT_CHUNKS[-1]]
    provider.answer = Answer(chat_sse(chunks))
    last = events_of(await streamed(translator, provider, "responses", "openai"))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["output"][-1]["status"] == "incomplete"
    assert last["response"]["usage"]["total_tokens"] == 290


async def test_a_custom_tool_comes_back_as_a_custom_call(
    translator: Translator, provider: Provider
) -> None:
    body = {**RESPONSES_BODY, "tools": [{"type": "custom", "name": "weather"}]}
    said = json.dumps({"content": "*** Begin"})
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": said}}
    chunks = [
        chat_chunk({"role": "assistant", "tool_calls": [{"index": 0, **call}]}),
        *CHAT_CHUNKS[-2:],
    ]
    provider.answer = Answer(chat_sse(chunks))
    events = events_of(await streamed(translator, provider, "responses", "openai", body))
    (item,) = events[-1]["response"]["output"]
    assert item["type"] == "custom_tool_call"
    assert item["input"] == "*** Begin"
    done = [e for e in events if e["type"] == "response.custom_tool_call_input.done"]
    assert [e["input"] for e in done] == ["*** Begin"]


async def test_a_search_that_the_provider_ran_is_no_call_of_the_clients_tools(
    translator: Translator, provider: Provider
) -> None:
    start, *_ = ANTHROPIC_EVENTS
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    events = [
        start,
        {"type": "content_block_start", "index": 0, "content_block": search},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": '{"query": "oslo"}'},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": found},
        {"type": "content_block_stop", "index": 1},
        *({**e, "index": 2} if "index" in e else e for e in ANTHROPIC_EVENTS[10:]),
    ]
    provider.answer = Answer(anthropic_sse(events))
    body = {**CHAT_BODY, "web_search_options": {}}
    chunks = events_of(await streamed(translator, provider, "chat", "anthropic", body))
    calls = [
        call
        for chunk in chunks
        for choice in chunk["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    assert {call["index"] for call in calls} == {0}
    assert [call["id"] for call in calls if "id" in call] == ["toolu_1"]
    body = {**RESPONSES_BODY, "tools": [*RESPONSES_BODY["tools"], {"type": "web_search"}]}
    last = events_of(await streamed(translator, provider, "responses", "anthropic", body))[-1]
    kinds = [item["type"] for item in last["response"]["output"]]
    assert kinds == ["web_search_call", "function_call"]


# --- what the provider is sent ---


@pytest.mark.parametrize("client_format", ["chat", "responses"])
async def test_anthropic_is_sent_the_version_that_takes_sampling(
    translator: Translator, provider: Provider, client_format: ClientFormat
) -> None:
    await completed(translator, provider, client_format, "anthropic")
    path, headers, body = provider.requests[-1]
    assert path == "/v1/messages"
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["x-api-key"] == "sk-secret"
    assert body["model"] == "claude-sonnet-4-5"
    assert body["temperature"] == 0.5
    assert body["max_tokens"] == 100
    assert body["system"][0]["text"] == "Be brief."
    assert body["tools"][0]["input_schema"]["required"] == ["city"]
    assert body["messages"][0]["content"][1]["source"]["data"] == PIXEL


async def test_openai_is_sent_a_chat_call_for_messages(
    translator: Translator, provider: Provider
) -> None:
    provider.answer = SSE_ANSWERS["openai"]
    await streamed(translator, provider, "messages", "openai")
    path, headers, body = provider.requests[-1]
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer sk-secret"
    assert body["stream_options"] == {"include_usage": True}
    assert body["stop"] == ["END"]
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["messages"][1]["content"][1]["image_url"]["url"].endswith(PIXEL)
    assert body["tools"][0]["function"]["name"] == "weather"
    assert body["user"] == "u-1"


async def test_thinking_goes_back_to_anthropic_signed(
    translator: Translator, provider: Provider
) -> None:
    first = await completed(translator, provider, "responses", "anthropic")
    turn = [
        *RESPONSES_BODY["input"],
        *first["output"],
        {"type": "function_call_output", "call_id": "toolu_1", "output": "rain"},
    ]
    body = {**RESPONSES_BODY, "input": turn, "reasoning": {"effort": "low"}, "temperature": None}
    await completed(translator, provider, "responses", "anthropic", body)
    blocks = provider.body["messages"][1]["content"]
    assert blocks[0] == {"type": "thinking", "thinking": "Rain?", "signature": "sealed"}
    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use"]
    assert provider.body["messages"][2]["content"][0]["type"] == "tool_result"


async def test_tool_results_go_back_to_openai(translator: Translator, provider: Provider) -> None:
    provider.answer = JSON_ANSWERS["openai"]
    use = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Oslo"}}
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "rain"}
    messages = [
        *MESSAGES_BODY["messages"],
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    body = {**MESSAGES_BODY, "messages": messages}
    await completed(translator, provider, "messages", "openai", body)
    call, answer = provider.body["messages"][-2:]
    assert call["tool_calls"][0]["id"] == answer["tool_call_id"] == "call_1"
    assert answer["content"] == "rain"


async def test_the_stream_opens_before_the_first_token(
    translator: Translator, provider: Provider
) -> None:
    provider.answer = Answer([], hang=True)
    frames = await translator.stream("chat", provider.target("anthropic"), CHAT_BODY)
    await frames.aclose()
    assert len(provider.requests) == 1


@pytest.mark.parametrize("name", ["anthropic", "openai"])
@pytest.mark.parametrize("client_format", FORMATS)
async def test_closing_the_stream_closes_the_providers_connection(
    translator: Translator, provider: Provider, client_format: ClientFormat, name: str
) -> None:
    frames = anthropic_sse()[:9] if name == "anthropic" else chat_sse()[:3]
    provider.answer = Answer(frames, hang=True)
    stream = await translator.stream(client_format, provider.target(name), BODIES[client_format])
    await anext(stream)
    await stream.aclose()
    await provider.gone.wait()
