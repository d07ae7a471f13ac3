"""Streams that fail: said in the format, with the usage reported, or estimated from what came."""

import json
from typing import Any

import pytest

from libs.common.errors import UpstreamTimeout
from libs.common.schemas.usage import TokenUsage
from services.gateway.formats import CHAT, MESSAGES, RESPONSES
from services.gateway.formats.base import MAX_KEPT_BYTES, CallRequest, Format
from services.gateway.formats.chat_stream import ChatReader
from tests.unit.gateway.streams import (
    CHAT_USAGE,
    MESSAGES_START_USAGE,
    RESPONSES_USAGE,
    chat_chunk,
    data,
    frame_of,
    messages_stream,
    relay,
    responses_stream,
)

TEXT = "Good day to you."
TEXT_TOKENS = len(TEXT) // 4
ERROR = {"message": "overloaded", "type": "server_error", "code": None, "param": None}


def request(client_format: Format, **fields: Any) -> CallRequest:
    return client_format.decode(json.dumps({"model": "m", "stream": True, **fields}).encode())


def chat_frames(**fields: Any) -> list[bytes]:
    return [data(chat_chunk(TEXT, **fields))]


@pytest.mark.parametrize(
    ("client_format", "sent", "error"),
    [
        (CHAT, chat_frames(), data({"error": ERROR})),
        (CHAT, chat_frames(), data({"error": ERROR, "usage": None}, spaced=True)),
        (CHAT, chat_frames(), data(chat_chunk("", error=ERROR))),
        (MESSAGES, messages_stream([TEXT])[:4], frame_of("error", error={"type": "api_error"})),
        (RESPONSES, responses_stream([TEXT])[:2], frame_of("error", error=ERROR)),
    ],
    ids=["chat", "chat with null usage", "chat beside choices", "messages", "responses"],
)
def test_the_providers_own_error_ends_the_stream(
    client_format: Format, sent: list[bytes], error: bytes
) -> None:
    late = data("ignored")
    call_request = request(client_format, stream_options={"include_usage": True})

    result = relay(client_format, call_request, [b"".join(sent), error, late])

    assert (result.status, result.error_code) == ("upstream_error", "upstream_refused")
    assert (result.body, result.last_bytes) == (b"".join(sent) + error, error)
    assert result.usage_source == "estimated"
    assert result.usage.output_text == TEXT_TOKENS


@pytest.mark.parametrize("usage", [None, RESPONSES_USAGE])
def test_a_failed_response_is_an_error(usage: dict[str, Any] | None) -> None:
    error = frame_of("response.failed", response={"id": "r-1", "error": ERROR, "usage": usage})

    result = relay(RESPONSES, request(RESPONSES), [*responses_stream([TEXT])[:2], error])

    assert (result.status, result.error_code) == ("upstream_error", "upstream_refused")
    assert result.last_bytes == error
    assert result.usage_source == ("estimated" if usage is None else "provider")


@pytest.mark.parametrize(
    "frame",
    [
        data(chat_chunk("a", error=None)),
        data({"object": "x", "error": None}),
        data(chat_chunk('{"error": "usage"}')),
        b': "error"\n\n',
    ],
    ids=range(4),
)
def test_frames_without_an_error_pass(frame: bytes) -> None:
    reader = ChatReader(wants_usage=True)

    assert reader.read(frame) == frame
    assert not reader.failed


@pytest.mark.parametrize(
    ("client_format", "frames", "error"),
    [
        (CHAT, chat_frames(), b'data: {"error":{"message":"Late.","type":"api_error","param":'),
        (MESSAGES, messages_stream([TEXT])[:4], b'event: error\ndata: {"type":"error","error":{'),
        (RESPONSES, responses_stream([TEXT])[:2], b'event: error\ndata: {"message":"Late.",'),
    ],
    ids=["chat", "messages", "responses"],
)
def test_a_fault_is_reported_after_the_frames_that_came(
    client_format: Format, frames: list[bytes], error: bytes
) -> None:
    result = relay(client_format, request(client_format), frames, fault=UpstreamTimeout("Late."))

    assert (result.status, result.error_code) == ("upstream_error", "upstream_timeout")
    assert result.body == b"".join(frames) + result.last_bytes
    assert result.last_bytes.startswith(error)
    assert result.usage_source == "estimated"
    assert result.usage.output_text == TEXT_TOKENS


def test_the_estimate_of_a_message_keeps_what_was_reported() -> None:
    result = relay(MESSAGES, request(MESSAGES), messages_stream([TEXT])[:4])

    assert result.usage == TokenUsage(
        input_text=15, cache_read=5, output_text=TEXT_TOKENS, notes=("output_estimated",)
    )


@pytest.mark.parametrize(
    ("reported", "speed"),
    [({}, "fast"), ({"speed": "standard"}, "standard"), ({"speed": "fast"}, "fast")],
)
def test_a_broken_message_without_a_speed_has_the_requested_one(
    reported: dict[str, str], speed: str
) -> None:
    usage = MESSAGES_START_USAGE | reported
    start = frame_of("message_start", message={"usage": usage | {"inference_geo": "us"}})
    rest = messages_stream([TEXT])[1:4]

    result = relay(MESSAGES, request(MESSAGES, speed="fast"), [start, *rest])
    without_start = relay(MESSAGES, request(MESSAGES, speed="fast"), rest)

    assert (result.usage.speed, result.usage.inference_geo) == (speed, "us")
    assert (without_start.usage.speed, without_start.usage_source) == ("fast", "estimated")


def test_a_message_that_ends_at_once_keeps_the_usage_of_its_start() -> None:
    start = frame_of(
        "message_start", message={"usage": MESSAGES_START_USAGE | {"output_tokens": 9}}
    )

    result = relay(MESSAGES, request(MESSAGES), [start])

    assert (result.usage.output_text, result.usage_source) == (9, "estimated")


@pytest.mark.parametrize("client_format", [CHAT, MESSAGES, RESPONSES], ids=lambda f: f.name)
def test_an_empty_stream_is_charged_for_its_input(client_format: Format) -> None:
    result = relay(client_format, request(client_format), [], input_tokens=33)

    assert result.usage == TokenUsage(input_text=33, output_text=0)


def test_tool_calls_and_reasoning_count() -> None:
    delta = {
        "reasoning_content": "1234",
        "refusal": "1234",
        "tool_calls": [{"index": 0, "function": {"name": "1234", "arguments": "1234"}}],
    }
    chunk = chat_chunk()
    chunk["choices"][0]["delta"] = delta

    assert relay(CHAT, request(CHAT), [data(chunk)]).usage.output_text == 4


def test_text_that_is_not_utf8_still_counts() -> None:
    frame = b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n'

    assert relay(CHAT, request(CHAT), [frame]).usage.output_text == -(-len(frame) // 4)


@pytest.mark.parametrize(
    ("client_format", "frame"),
    [
        (CHAT, data(chat_chunk("x" * MAX_KEPT_BYTES))),
        (MESSAGES, frame_of("content_block_delta", delta={"text": "x" * MAX_KEPT_BYTES})),
        (RESPONSES, frame_of("response.output_text.delta", delta="x" * MAX_KEPT_BYTES)),
    ],
    ids=["chat", "messages", "responses"],
)
def test_text_that_is_too_long_to_keep_still_counts(client_format: Format, frame: bytes) -> None:
    result = relay(client_format, request(client_format), [frame])

    assert MAX_KEPT_BYTES // 4 <= result.usage.output_text < MAX_KEPT_BYTES // 4 + 100  # type: ignore[operator]


def test_contradictory_counts_keep_their_known_part() -> None:
    usage = CHAT_USAGE | {"prompt_tokens_details": {"cached_tokens": 1_000}}
    frames = [*chat_frames(), data({"choices": [], "usage": usage}), b"data: [DONE]\n\n"]

    result = relay(CHAT, request(CHAT), frames, input_tokens=8)

    assert (result.status, result.usage_source) == ("ok", "provider")
    assert result.usage == TokenUsage(
        input_text=0, cache_read=20, output_text=4, reasoning=3, notes=("details_clamped",)
    )
