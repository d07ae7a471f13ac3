"""Providers' streams as bytes, cut into reads, and what a relay makes of them."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from starlette.types import Message

from libs.common.errors import AppError, UpstreamFailed
from libs.common.schemas.usage import CallStatus, TokenUsage, UsageSource
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.calls.progress import AnswerProgress
from services.gateway.endpoints.stream_relay import StreamRelay
from services.gateway.formats import FORMATS
from services.gateway.formats.base import CallRequest, Format
from services.gateway.upstream.answer import Stream
from services.gateway.usage.estimator import Estimator, by_bytes
from tests.unit.gateway.new_calls import new_call

NOW_MS = 1_796_000_000_000

CHAT_USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 7,
    "total_tokens": 27,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
RESPONSES_USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 5},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 27,
}
MESSAGES_START_USAGE = {"input_tokens": 15, "cache_read_input_tokens": 5, "output_tokens": 1}
MESSAGES_END_USAGE = {"output_tokens": 7}

# Words of the protocols inside a model's text must not be taken for the protocol.
TRICKY = (
    "Hi",
    "[DONE]",
    "data: [DONE]\n\n",
    '"usage"',
    '{"usage": {"prompt_tokens": 1}}',
    '{"error": {"message": "no"}}',
    ".delta",
    "response.completed",
    "message_stop",
    "event: message_stop\r\n\r\n",
    "\n\n",
    "漢字 é \U0001f600",
    "",
)


class ByBytes:
    """A tokeniser whose counts can be told in advance."""

    async def count(self, text: bytes) -> int:
        return by_bytes(len(text))


class RelayResult(NamedTuple):
    """What a client got, and how the relay says that it ended; `last_bytes` end `body`."""

    body: bytes
    last_bytes: bytes
    status: CallStatus
    reported: TokenUsage | None
    usage_source: UsageSource
    error_code: str | None

    @property
    def usage(self) -> TokenUsage:
        """Of a stream that is charged for."""
        assert self.reported is not None
        return self.reported


def frame_of(kind: str, **fields: Any) -> bytes:
    """A frame of the formats with named events."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def data(fields: Any, *, spaced: bool = False) -> bytes:
    """A frame without a name, written densely or as Python's json does."""
    separators = None if spaced else (",", ":")
    return f"data: {json.dumps(fields, separators=separators)}\n\n".encode()


def chat_chunk(content: str | None = None, **fields: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {"id": "c-1", "object": "chat.completion.chunk", "choices": [choice], **fields}


def messages_stream(texts: Iterable[str], *, tool: str | None = None) -> list[bytes]:
    """A whole message; a tool may have any name."""
    block = {"type": "text", "text": ""}
    if tool is not None:
        block = {"type": "tool_use", "id": "t", "name": tool, "input": {}}  # type: ignore[dict-item]
    kind, field = ("text_delta", "text") if tool is None else ("input_json_delta", "partial_json")
    return [
        frame_of("message_start", message={"id": "m-1", "usage": MESSAGES_START_USAGE}),
        frame_of("content_block_start", index=0, content_block=block),
        frame_of("ping"),
        *(
            frame_of("content_block_delta", index=0, delta={"type": kind, field: text})
            for text in texts
        ),
        frame_of("content_block_stop", index=0),
        frame_of("message_delta", delta={"stop_reason": "end_turn"}, usage=MESSAGES_END_USAGE),
        frame_of("message_stop"),
    ]


def responses_stream(texts: Iterable[str], end: str = "completed") -> list[bytes]:
    """A whole response; `end` is how it ends."""
    response = {"id": "r-1", "status": end, "usage": RESPONSES_USAGE, "service_tier": "default"}
    return [
        frame_of("response.created", response={"id": "r-1", "usage": None}),
        *(frame_of("response.output_text.delta", delta=text) for text in texts),
        frame_of("response.output_text.done", text="".join(texts)),
        frame_of(f"response.{end}", response=response),
    ]


def payloads(body: bytes) -> list[Any]:
    """The data of a body's frames, decoded where it is JSON; comments are passed over."""
    decoded: list[Any] = []
    for frame in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        for line in frame.split(b"\n"):
            if line.startswith(b"data:"):
                text = line[5:].strip()
                decoded.append("[DONE]" if text == b"[DONE]" else json.loads(text))
    return decoded


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    """The body in reads that end at those places."""
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


class ScriptedTranslation:
    """A translation to chat of a provider that speaks it."""

    def __init__(self, usage: Callable[[], TokenUsage | None]) -> None:
        self.error: AppError | None = None
        self.usage = usage
        self._last = b""

    def feed(self, chunk: bytes) -> bytes:
        if b"[DONE]" in chunk:
            self._last = chunk
        return b"" if self._last else chunk

    def is_over(self) -> bool:
        return bool(self._last)

    def has_failed(self) -> bool:
        return False

    def end(self) -> bytes:
        if not self._last:
            raise UpstreamFailed("The answer is not whole.")
        return self._last

    def tier(self) -> str | None:
        return None

    def error_frame(self, error: AppError) -> bytes:
        return FORMATS["chat"].error_frame(error, "")


def relay(
    client_format: Format,
    request: CallRequest,
    reads: Sequence[bytes],
    *,
    input_tokens: int = 100,
    fault: Exception | None = None,
    reported: Callable[[], TokenUsage | None] | None = None,
) -> RelayResult:
    """What comes of a provider's stream that arrives in those reads, and may then fail.

    `reported`: it is a translation, which knows what the provider has reported.
    """
    return asyncio.run(_relay(client_format, request, reads, input_tokens, fault, reported))


async def _relay(
    client_format: Format,
    request: CallRequest,
    reads: Sequence[bytes],
    input_tokens: int,
    fault: Exception | None,
    reported: Callable[[], TokenUsage | None] | None,
) -> RelayResult:
    sent: list[bytes] = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        for read in reads:
            yield read
        if fault is not None:
            raise fault

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            sent.append(message["body"])

    async def close() -> None:
        pass

    call = new_call(client_format, now_ms=NOW_MS, entropy=bytes)
    # Nothing of it is left to count, so that the tests choose the estimate.
    empty_request = msgspec.structs.replace(request, fields={})
    priced = PricedRequest(
        request=empty_request, prices={}, input_tokens=input_tokens, continued_tokens=input_tokens
    )
    stream = Stream(
        headers=[],
        chunks=chunks(),
        close=close,
        translation=None if reported is None else ScriptedTranslation(reported),
    )
    stream_relay = StreamRelay(
        call,
        priced,
        stream,
        AnswerProgress(),
        receive,
        send,
        estimator=Estimator(ByBytes()),
        keepalive_s=60,
    )
    end = await stream_relay.run([])
    await stream_relay.send_last(end.last_bytes)
    return RelayResult(
        b"".join(sent),
        end.last_bytes,
        end.status,
        end.usage,
        end.usage_source,
        end.error_code,
    )
