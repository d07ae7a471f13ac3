"""Streams: whatever the reads, the client gets the same bytes and the ledger the same usage."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.schemas.usage import TokenUsage
from services.gateway.formats import CHAT, MESSAGES, RESPONSES
from services.gateway.formats.base import CallRequest, Format
from tests.unit.gateway import streams
from tests.unit.gateway.streams import (
    CHAT_USAGE,
    TRICKY,
    chat_chunk,
    cut,
    data,
    messages_stream,
    payloads,
    relay,
    responses_stream,
)

CHAT_TOKENS = TokenUsage(input_text=15, cache_read=5, output_text=4, reasoning=3, input_audio=None)
RESPONSES_TOKENS = TokenUsage(
    input_text=15, cache_read=5, output_text=4, reasoning=3, service_tier="default"
)
MESSAGES_TOKENS = TokenUsage(input_text=15, cache_read=5, output_text=7)

texts = st.lists(st.sampled_from(TRICKY) | st.text(max_size=10), max_size=6)
places = st.lists(st.integers(0, 5_000), max_size=12)
# How a provider ends its lines, and what else it says between its frames.
dialects = st.tuples(st.sampled_from([b"\n", b"\r\n"]), st.sampled_from([b"", b": keep-alive\n\n"]))


def request(client_format: Format, *, wants_usage: bool = True) -> CallRequest:
    body: dict[str, Any] = {"model": "m", "stream": True}
    if client_format is CHAT:
        body["stream_options"] = {"include_usage": wants_usage}
    return client_format.decode(json.dumps(body).encode())


def body_of(frames: list[bytes], dialect: tuple[bytes, bytes]) -> bytes:
    newline, between = dialect
    return between.join(frames).replace(b"\n", newline)


def chat_stream(words: list[str], usage_in: str, *, spaced: bool) -> list[bytes]:
    """A whole answer, with its usage where providers put it."""
    null = {"usage": None} if usage_in != "no chunk" else {}
    chunks = [chat_chunk(word, **null) for word in words]
    last = chat_chunk(**null)
    last["choices"][0]["finish_reason"] = "stop"
    chunks.append(last)
    if usage_in == "its own chunk":
        chunks.append({"id": "c-1", "choices": [], "usage": CHAT_USAGE})
    elif usage_in == "the last choice chunk":
        last["usage"] = CHAT_USAGE
    return [*(data(chunk, spaced=spaced) for chunk in chunks), b"data: [DONE]\n\n"]


@given(
    words=texts,
    usage_in=st.sampled_from(["its own chunk", "the last choice chunk", "no chunk"]),
    spaced=st.booleans(),
    wants_usage=st.booleans(),
    dialect=dialects,
    places=places,
)
def test_a_chat_stream_is_relayed_however_it_is_split(
    words: list[str],
    usage_in: str,
    spaced: bool,
    wants_usage: bool,
    dialect: tuple[bytes, bytes],
    places: list[int],
) -> None:
    frames = chat_stream(words, usage_in, spaced=spaced)
    body = body_of(frames, dialect)
    call_request = request(CHAT, wants_usage=wants_usage)

    result = relay(CHAT, call_request, cut(body, places))

    assert result == relay(CHAT, call_request, [body])
    assert result.status == "ok"
    expected = payloads(b"".join(frames))
    if wants_usage:
        assert result.body == body
    else:
        expected = [chunk for chunk in expected if chunk == "[DONE]" or chunk["choices"]]
        for chunk in expected[:-1]:
            chunk.pop("usage", None)
    assert payloads(result.body) == expected
    if usage_in == "no chunk":
        assert result.usage_source == "estimated"
        assert result.usage.output_text == -(-len("".join(words).encode()) // 4)
    else:
        assert (result.usage, result.usage_source) == (CHAT_TOKENS, "provider")


@given(
    words=texts,
    tool=st.sampled_from([None, "ping", "message_stop", "error"]),
    dialect=dialects,
    places=places,
)
def test_a_messages_stream_is_relayed_however_it_is_split(
    words: list[str], tool: str | None, dialect: tuple[bytes, bytes], places: list[int]
) -> None:
    body = body_of(messages_stream(words, tool=tool), dialect)

    result = relay(MESSAGES, request(MESSAGES), cut(body, places))

    assert result.body == body
    assert result.status == "ok"
    assert (result.usage, result.usage_source) == (MESSAGES_TOKENS, "provider")


@given(
    words=texts,
    end=st.sampled_from(["completed", "incomplete"]),
    dialect=dialects,
    places=places,
)
def test_a_responses_stream_is_relayed_however_it_is_split(
    words: list[str], end: str, dialect: tuple[bytes, bytes], places: list[int]
) -> None:
    body = body_of(responses_stream(words, end), dialect)

    result = relay(RESPONSES, request(RESPONSES), cut(body, places))

    assert result.body == body
    assert result.status == "ok"
    assert (result.usage, result.usage_source) == (RESPONSES_TOKENS, "provider")


@given(words=texts, places=places, kept=st.integers(0, 2_000))
@pytest.mark.parametrize("client_format", [CHAT, MESSAGES, RESPONSES], ids=lambda f: f.name)
def test_a_stream_cut_anywhere_ends_with_an_error(
    client_format: Format, words: list[str], places: list[int], kept: int
) -> None:
    """What went out before is whole frames of the original; then comes the error, in format."""
    frames = {
        CHAT: chat_stream(words, "no chunk", spaced=False),
        MESSAGES: messages_stream(words)[:-2],
        RESPONSES: responses_stream(words),
    }[client_format]
    whole = b"".join(frames)
    # The last newline of a stream is not needed to understand it.
    body = whole[: min(kept, len(b"".join(frames[:-1])) + 4)]

    result = relay(client_format, request(client_format), cut(body, places))

    assert result == relay(client_format, request(client_format), [body])
    assert result.status == "upstream_error"
    assert result.usage_source == "estimated"
    assert result.error_code == "upstream_unavailable"
    error = result.last_bytes
    assert error.count(b"\n\n") == 1
    assert b'"api_error"' in error
    assert result.body == body[: body.rfind(b"\n\n") + 2 if b"\n\n" in body else 0] + error


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_the_last_frame_needs_no_blank_line(newline: bytes) -> None:
    body = body_of(chat_stream(["Hi"], "its own chunk", spaced=False), (newline, b""))

    result = relay(CHAT, request(CHAT), [body.rstrip()])

    assert result.status == "ok"
    assert result.usage == CHAT_TOKENS
    assert payloads(result.body)[-1] == "[DONE]"


def test_a_chat_stream_may_close_after_its_usage_without_done() -> None:
    body = b"".join(chat_stream(["Hi"], "its own chunk", spaced=False)[:-1])

    result = relay(CHAT, request(CHAT), [body])

    assert (result.body, result.status, result.usage) == (body, "ok", CHAT_TOKENS)


def test_frames_after_the_terminal_one_are_held_back_with_it() -> None:
    body = b"data: [DONE]\n\n: bye\n\n"

    assert relay(CHAT, request(CHAT), [body]).last_bytes == body


def test_only_the_terminal_frame_is_held_back() -> None:
    frames = messages_stream(["Hi"])

    result = relay(MESSAGES, request(MESSAGES), [b"".join(frames)])

    assert result.last_bytes == frames[-1] == streams.frame_of("message_stop")
