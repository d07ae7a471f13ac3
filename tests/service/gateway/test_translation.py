"""Translated answers, in the format of the client."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from services.gateway.upstream.adapters.translator import Translator
from tests.service.gateway.translation_calls import (
    CHAT_BODY,
    JSON_ANSWERS,
    RESPONSES_BODY,
    SSE_ANSWERS,
    completed,
    streamed,
)
from tests.service.gateway.translation_wire import (
    ANTHROPIC_EVENTS,
    CHAT_CHUNKS,
    Answer,
    TranslatedProvider,
    anthropic_sse,
    chat_chunk,
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


async def test_chat_from_anthropic(translator: Translator, provider: TranslatedProvider) -> None:
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


async def test_chat_stream_from_anthropic(
    translator: Translator, provider: TranslatedProvider
) -> None:
    provider.answer = SSE_ANSWERS["anthropic"]
    frames = await streamed(translator, provider, "chat", "anthropic")
    assert frames[-1] == b"data: [DONE]\n\n"
    chunks = events_of(frames)
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    message = state.get_final_completion().choices[0].message.model_dump(exclude_none=True)
    assert message["content"] == "Hello"
    assert message["thinking_blocks"] == [
        {"index": 0, "type": "thinking", "thinking": "Rain?", "signature": "signed"}
    ]
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


async def test_messages_from_openai(translator: Translator, provider: TranslatedProvider) -> None:
    provider.answer = JSON_ANSWERS["openai"]
    answer = await completed(translator, provider, "messages", "openai")
    Message.model_validate(answer)
    assert answer["id"].startswith("msg_")
    assert answer["stop_reason"] == "tool_use"
    assert [block["type"] for block in answer["content"]] == ["text", "tool_use"]
    assert answer["content"][1]["input"] == {"city": "Oslo"}


async def test_messages_stream_from_openai(
    translator: Translator, provider: TranslatedProvider
) -> None:
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


async def test_response_from_anthropic(
    translator: Translator, provider: TranslatedProvider
) -> None:
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
async def test_response_stream(
    translator: Translator, provider: TranslatedProvider, name: str
) -> None:
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
    for kind in ("content_part", "reasoning_summary_part", "output_item"):
        assert names.count(f"response.{kind}.added") == names.count(f"response.{kind}.done")


async def test_an_answer_cut_by_its_limit_is_an_incomplete_response(
    translator: Translator, provider: TranslatedProvider
) -> None:
    chunks = [*CHAT_CHUNKS[:3], chat_chunk({}, finish_reason="length"), CHAT_CHUNKS[-1]]
    provider.answer = Answer(chat_sse(chunks))
    last = events_of(await streamed(translator, provider, "responses", "openai"))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["output"][-1]["status"] == "incomplete"
    assert last["response"]["usage"]["total_tokens"] == 290


async def test_a_custom_tool_comes_back_as_a_custom_call(
    translator: Translator, provider: TranslatedProvider
) -> None:
    body = {**RESPONSES_BODY, "tools": [{"type": "custom", "name": "weather"}]}
    text = json.dumps({"content": "*** Begin"})
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": text}}
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


async def test_a_search_run_by_the_provider_is_not_a_tool_call(
    translator: Translator, provider: TranslatedProvider
) -> None:
    start, *_ = ANTHROPIC_EVENTS
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    search_result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    events = [
        start,
        {"type": "content_block_start", "index": 0, "content_block": search},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": '{"query": "oslo"}'},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": search_result},
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
