"""One answer costs the same whichever format the client speaks: relayed or translated."""

import json
from typing import Any
from uuid import uuid4

import pytest

from libs.common.schemas.usage import ClientFormat, TokenUsage, UsageEvent
from tests.service.gateway.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from tests.service.gateway.routes import add_route, deployment
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "x" * 40
TEXT_TOKENS = 5


def chat_answer(usage: Any, text: str = TEXT) -> tuple[bytes, list[bytes]]:
    """Whole, and as a stream."""
    head = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m"}
    message = {"role": "assistant", "content": text}
    whole = {**head, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    head["object"] = "chat.completion.chunk"
    chunks: list[Any] = [
        {**head, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**head, "choices": [], "usage": usage},
    ]
    frames = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
    return json.dumps({**whole, "usage": usage}).encode(), [*frames, b"data: [DONE]\n\n"]


def message_answer(
    usage: Any, text: str = TEXT, stop_reason: str = "end_turn"
) -> tuple[bytes, list[bytes]]:
    whole: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }
    initial = {**whole, "content": [], "stop_reason": None}
    initial["usage"] = {"input_tokens": usage["input_tokens"], "output_tokens": 1}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": initial}]
    if text:
        block = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": text}
        events += [
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
        ]
    end = {"stop_reason": stop_reason, "stop_sequence": None}
    events += [{"type": "message_delta", "delta": end, "usage": usage}, {"type": "message_stop"}]
    frames = [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]
    return json.dumps(whole).encode(), frames


def response_answer(usage: Any, **fields: Any) -> tuple[bytes, list[bytes]]:
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    item = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    whole: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "m",
        "output": [item],
        "usage": usage,
        **fields,
    }
    initial = {**whole, "status": "in_progress", "output": [], "usage": None}
    place = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
    initial_item = {**item, "status": "in_progress", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": initial},
        {"type": "response.output_item.added", "output_index": 0, "item": initial_item},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": TEXT},
        {"type": "response.output_text.done", **place, "text": TEXT},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    frames = [
        f"event: {e['type']}\ndata: {json.dumps({**e, 'sequence_number': n})}\n\n".encode()
        for n, e in enumerate(events)
    ]
    return json.dumps(whole).encode(), frames


COMPACTED = {
    "input_tokens": 23_000,
    "output_tokens": 1_000,
    "iterations": [
        {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
        {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000},
    ],
}
ANSWERS: dict[str, tuple[ClientFormat, tuple[bytes, list[bytes]]]] = {
    "reasoning beside the output": (
        "chat",
        chat_answer(
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            }
        ),
    ),
    "a total of thoughts": (
        "chat",
        chat_answer({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}),
    ),
    "cached by another name": (
        "chat",
        chat_answer({"prompt_tokens": 1000, "completion_tokens": 5, "prompt_cache_hit_tokens": 9}),
    ),
    "more cached than read": (
        "chat",
        chat_answer(
            {
                "prompt_tokens": 1000,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 1200},
            }
        ),
    ),
    "the provider's cost": (
        "chat",
        chat_answer({"prompt_tokens": 9, "completion_tokens": 402, "cost": 0.005411}),
    ),
    "no output": ("chat", chat_answer({"prompt_tokens": 12, "completion_tokens": 0})),
    "a compaction": ("messages", message_answer(COMPACTED)),
    "hour-long writes": (
        "messages",
        message_answer(
            {
                "input_tokens": 5,
                "output_tokens": 9,
                "cache_creation_input_tokens": 300,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 100,
                    "ephemeral_1h_input_tokens": 200,
                },
                "speed": "fast",
                "inference_geo": "us",
                "service_tier": "priority",
            }
        ),
    ),
    "a refusal": (
        "messages",
        message_answer({"input_tokens": 1000, "output_tokens": 0}, text="", stop_reason="refusal"),
    ),
    "no words counted": (
        "messages",
        message_answer({"input_tokens": 1000, "output_tokens": 0}),
    ),
    "twelve-hour writes": (
        "responses",
        response_answer(
            {
                "input_tokens": 1000,
                "output_tokens": 50,
                "total_tokens": 1050,
                "input_tokens_details": {
                    "cached_tokens": 100,
                    "cache_write_tokens": 300,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 100, "ttl_12h_tokens": 200},
                },
            },
            service_tier="flex",
        ),
    ),
    "billed searches": (
        "responses",
        response_answer(
            {"input_tokens": 1000, "output_tokens": 50, "total_tokens": 1050},
            tool_usage={"web_search": {"num_requests": 2}, "image_gen": {"total_tokens": 0}},
        ),
    ),
}


async def metered(
    gateway: Client,
    upstream: Upstream,
    books: Books,
    dialect: Dialect,
    name: str,
    *,
    stream: bool,
) -> UsageEvent:
    speaks, (whole, frames) = ANSWERS[name]
    if stream:
        upstream.streams(frames)
    else:
        upstream.answers(whole)
    provider = "anthropic" if speaks == "messages" else "openai"
    model = f"{provider}/one-{uuid4().hex}"
    await books.set_price(model, input_usd="1", output_usd="1", web_search=0)
    route = await add_route(books, deployment(upstream, "a", model, formats=(speaks,)))
    secret = await books.add_key()
    response = await gateway.post(dialect.path, secret, dialect.body(model=route, stream=stream))
    assert response.status_code == 200, response.text
    event = await books.the_event(secret)
    assert event.translated is (dialect.name != speaks)
    return event


@pytest.mark.parametrize("name", ANSWERS)
async def test_every_format_meters_one_answer_alike(
    gateway: Client, upstream: Upstream, books: Books, name: str
) -> None:
    speaks = ANSWERS[name][0]
    results: dict[tuple[str, bool], tuple[TokenUsage | None, str]] = {}
    for dialect in (CHAT, MESSAGES, RESPONSES):
        for stream in (False, True):
            event = await metered(gateway, upstream, books, dialect, name, stream=stream)
            assert event.status == "ok", (dialect.name, stream)
            results[dialect.name, stream] = (event.usage, event.usage_source)
    relayed = results[speaks, False]
    assert relayed[0] is not None
    assert all(each == relayed for each in results.values()), results
