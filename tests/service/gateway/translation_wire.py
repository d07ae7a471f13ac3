"""Wire payloads of three providers' formats, and a server that answers with them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from services.gateway.upstream.adapters.target import TranslationTarget

ANTHROPIC_USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 200,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
    "output_tokens": 50,
    "service_tier": "priority",
    "output_tokens_details": {"thinking_tokens": 7},
}
ANTHROPIC_MESSAGE = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [
        {"type": "thinking", "thinking": "Rain?", "signature": "signed"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": ANTHROPIC_USAGE,
}
ANTHROPIC_EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            **ANTHROPIC_MESSAGE,
            "content": [],
            "stop_reason": None,
            "usage": {
                name: value
                for name, value in (ANTHROPIC_USAGE | {"output_tokens": 1}).items()
                if name != "output_tokens_details"
            },
        },
    },
    {"type": "ping"},
    {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "thinking", "thinking": "", "signature": ""},
    },
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "thinking_delta", "thinking": "Rain?"},
    },
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "signature_delta", "signature": "signed"},
    },
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hel"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": '{"city": '},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": '"Oslo"}'},
    },
    {"type": "content_block_stop", "index": 2},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 50, "output_tokens_details": {"thinking_tokens": 7}},
    },
    {"type": "message_stop"},
]

CHAT_USAGE = {
    "prompt_tokens": 240,
    "completion_tokens": 50,
    "total_tokens": 290,
    "prompt_tokens_details": {"cached_tokens": 200, "cache_write_tokens": 30},
    "completion_tokens_details": {"reasoning_tokens": 7},
}
CHAT_COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello",
                "refusal": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                    }
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": CHAT_USAGE,
    "service_tier": "default",
}


def chat_chunk(
    delta: Mapping[str, Any] | None = None,
    *,
    finish_reason: str | None = None,
    usage: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "choices": [] if delta is None else [choice],
        "usage": usage,
    }


CHAT_CHUNKS = [
    chat_chunk({"role": "assistant", "content": "", "refusal": None}),
    chat_chunk({"content": "Hel"}),
    chat_chunk({"content": "lo"}),
    chat_chunk(
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": ""},
                }
            ]
        }
    ),
    chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]}),
    chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]}),
    chat_chunk({}, finish_reason="tool_calls"),
    chat_chunk(usage=CHAT_USAGE),
]


def anthropic_sse(events: Sequence[Mapping[str, Any]] = ANTHROPIC_EVENTS) -> list[bytes]:
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


def chat_sse(
    chunks: Sequence[Mapping[str, Any]] = CHAT_CHUNKS, *, done: bool = True
) -> list[bytes]:
    frames = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
    return [*frames, b"data: [DONE]\n\n"] if done else frames


@dataclass
class Answer:
    """What the provider answers: JSON, text, or frames. `hang` keeps a stream open after them."""

    body: Mapping[str, Any] | str | Sequence[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    cut: bool = False


@dataclass
class TranslatedProvider:
    url: str = ""
    answer: Answer = field(default_factory=lambda: Answer(ANTHROPIC_MESSAGE))
    requests: list[tuple[str, Mapping[str, str], dict[str, Any]]] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def body(self) -> dict[str, Any]:
        return self.requests[-1][2]

    @property
    def headers(self) -> Mapping[str, str]:
        return self.requests[-1][1]

    async def closed(self) -> None:
        """Waits until the connection of a hanging answer has been closed by its caller."""
        async with asyncio.timeout(10):
            await self.gone.wait()

    def target(self, provider: str, *, timeout_s: float = 10) -> TranslationTarget:
        return TranslationTarget(
            provider=provider,
            model="claude-sonnet-4-5" if provider == "anthropic" else "gpt-4o-mini",
            api_base=self.url if provider == "anthropic" else f"{self.url}/v1",
            api_key="sk-secret",
            timeout_s=timeout_s,
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, request.headers, await request.json()))
        answer = self.answer
        if isinstance(answer.body, str):
            return web.Response(status=answer.status, text=answer.body, headers=answer.headers)
        if isinstance(answer.body, Mapping):
            return web.json_response(answer.body, status=answer.status, headers=answer.headers)
        headers = {"content-type": "text/event-stream", **answer.headers}
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        try:
            for frame in answer.body:
                await response.write(frame)
            if answer.hang:
                await asyncio.Event().wait()
            if answer.cut and request.transport is not None:
                request.transport.abort()
        except (asyncio.CancelledError, ConnectionError):
            self.gone.set()
            raise
        return response


@asynccontextmanager
async def serving() -> AsyncIterator[TranslatedProvider]:
    provider = TranslatedProvider()
    app = web.Application()
    app.router.add_post("/{path:.*}", provider.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield provider
    finally:
        await runner.cleanup()


def events_of(frames: Sequence[bytes]) -> list[dict[str, Any]]:
    """The decoded data of SSE frames, [DONE] left out; each frame must be whole."""
    events = []
    for frame in frames:
        assert frame.endswith(b"\n\n")
        assert frame.count(b"\n\n") == 1
        lines = frame.decode().rstrip("\n").split("\n")
        data = lines[-1].removeprefix("data: ")
        if data == "[DONE]":
            continue
        event = json.loads(data)
        if len(lines) == 2:
            assert lines[0] == f"event: {event['type']}"
        events.append(event)
    return events
