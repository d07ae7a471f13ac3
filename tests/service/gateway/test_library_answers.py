"""What Gemini answers, by LiteLLM, and what becomes of it: ends, faults and what they cost."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from libs.common.errors import AppError, CallMalformed
from services.gateway.upstream.answer import Stream
from tests.service.gateway.gemini_wire import HI, NEW, OLD, answer, frames, piece
from tests.service.gateway.library_wire import LibraryWire, settings, wired
from tests.service.gateway.upstream import UpstreamConnection, UpstreamRequest
from tests.support.polling import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": EMPTY}}]
BODY = {"messages": HI, "tools": TOOLS}
STREAM = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
MALFORMED = [
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire() -> AsyncIterator[LibraryWire]:
    async with wired(settings()) as library_wire:
        yield library_wire


@pytest.mark.parametrize("word", MALFORMED)
async def test_a_call_that_broke_is_not_a_normal_end(wire: LibraryWire, word: str) -> None:
    """It costs what it reported, and is not tried again."""
    wire.upstream.answers(json.dumps(answer(finish=word)).encode())

    response = await wire.ask("chat", NEW, BODY)

    assert response.status == CallMalformed.status
    assert response.body["error"]["code"] == CallMalformed.code
    assert response.headers["x-should-retry"] == "false"
    assert response.usage is not None
    assert (response.usage.input_text, response.usage.output_text) == (5, 2)
    assert len(wire.upstream.requests) == 1


async def test_a_broken_call_in_an_empty_stream_is_an_error(wire: LibraryWire) -> None:
    wire.upstream.streams(frames(piece(), answer(finish="MALFORMED_FUNCTION_CALL")))

    response = await wire.ask("chat", NEW, STREAM)

    assert [event["error"]["code"] for event in response.body if "error" in event] == [
        CallMalformed.code
    ]
    assert response.usage is not None


ENDS = [
    ("STOP", "stop"),
    ("MAX_TOKENS", "length"),
    ("SAFETY", "content_filter"),
    ("PROHIBITED_CONTENT", "content_filter"),
]


@pytest.mark.parametrize(("word", "reason"), ENDS)
@pytest.mark.parametrize("stream", [False, True])
async def test_how_answers_end(wire: LibraryWire, word: str, reason: str, stream: bool) -> None:
    whole = answer({"text": "hello"}, finish=word)
    if stream:
        wire.upstream.streams(frames(whole))
    else:
        wire.upstream.answers(json.dumps(whole).encode())

    response = await wire.ask("chat", NEW, STREAM if stream else BODY)

    choices = [choice for event in response.body for choice in event["choices"]] if stream else []
    ends = [choice["finish_reason"] for choice in choices or response.body["choices"]]
    assert [end for end in ends if end] == [reason]


async def test_calls_of_one_stream_are_numbered(wire: LibraryWire) -> None:
    calls = [{"functionCall": {"name": "f", "args": {"n": n}}} for n in range(3)]
    wire.upstream.streams(frames(piece(*calls[:2]), answer(calls[2])))

    response = await wire.ask("chat", NEW, STREAM)

    arguments: dict[int, str] = {}
    for event in response.body:
        for choice in event["choices"]:
            for delta in choice["delta"].get("tool_calls", ()):
                known = arguments.setdefault(delta["index"], "")
                arguments[delta["index"]] = known + delta["function"]["arguments"]
    assert {index: json.loads(text) for index, text in arguments.items()} == {
        0: {"n": 0},
        1: {"n": 1},
        2: {"n": 2},
    }


async def test_usage_is_the_providers(wire: LibraryWire) -> None:
    counted = answer(
        {"text": "thought", "thought": True},
        {"text": "hello"},
        thoughtsTokenCount=4,
        totalTokenCount=11,
        cachedContentTokenCount=3,
    )
    wire.upstream.answers(json.dumps(counted).encode())
    whole = await wire.ask("chat", NEW, BODY)
    wire.upstream.streams(frames(counted))
    streamed = await wire.ask("chat", NEW, STREAM)

    for response in (whole, streamed):
        usage = response.usage
        assert usage is not None
        assert (usage.input_text, usage.cache_read) == (2, 3)
        assert (usage.output_text, usage.reasoning) == (2, 4)


async def test_unreported_usage_is_omitted(wire: LibraryWire) -> None:
    wire.upstream.streams(frames(piece({"text": "hello"}), piece({"text": "!"}, finish="STOP")))

    response = await wire.ask("chat", NEW, STREAM)

    assert (response.usage, response.error) == (None, None)
    assert [event["choices"] for event in response.body if event.get("usage")] == []


CUTS = [
    frames(piece({"text": "hel"})),
    frames(piece({"text": "hel"}), b"data: [DONE]\n\n"),
    frames(piece({"text": "hel"}), b'data: {"candidates": [\r\n\r\n', answer({"text": "lo"})),
]


@pytest.mark.parametrize("cut", CUTS, ids=["cut", "done", "unreadable"])
@pytest.mark.parametrize("client", ["chat", "messages", "responses"])
async def test_a_cut_stream_is_never_a_success(
    wire: LibraryWire, cut: list[bytes], client: Any
) -> None:
    wire.upstream.streams(cut)
    body: dict[str, Any] = {"stream": True, "max_tokens": 100, "messages": HI}
    if client == "responses":
        body = {"stream": True, "input": "hi"}

    response = await wire.ask(client, NEW, body)

    assert response.error is not None
    assert (response.error.status, response.error.code) == (502, "upstream_incomplete")
    text = json.dumps(response.body)
    ends = ('"finish_reason": "', "message_stop", "response.completed")
    assert not any(end in text for end in ends)
    assert "hel" in text
    assert len(wire.upstream.requests) == 1


async def test_a_stream_may_repeat_itself(wire: LibraryWire) -> None:
    rows = [piece({"text": "| 0 |"}) for _ in range(150)]
    wire.upstream.streams(frames(*rows, answer({"text": "."})))

    response = await wire.ask("chat", NEW, STREAM)

    text = "".join(
        choice["delta"].get("content") or ""
        for event in response.body
        for choice in event["choices"]
    )
    assert (text.count("| 0 |"), response.error) == (150, None)


def fault(status: int, word: str, *details: Any) -> bytes:
    error = {"code": status, "message": "It cannot be.", "status": word, "details": details}
    return json.dumps({"error": error}).encode()


DELAY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "31.4s"}
FAULTS = [
    (400, fault(400, "INVALID_ARGUMENT"), {}, "INVALID_ARGUMENT", None),
    (403, fault(403, "PERMISSION_DENIED"), {}, "PERMISSION_DENIED", None),
    (429, fault(429, "RESOURCE_EXHAUSTED"), {"retry-after": "7"}, "rate_limit_exceeded", 7),
    (429, fault(429, "RESOURCE_EXHAUSTED", DELAY), {}, "rate_limit_exceeded", 32),
    (500, fault(500, "INTERNAL"), {}, "INTERNAL", None),
    (503, fault(503, "UNAVAILABLE"), {}, "overloaded", None),
]


@pytest.mark.parametrize(("status", "body", "headers", "code", "after"), FAULTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_is_the_providers_own(
    wire: LibraryWire,
    status: int,
    body: bytes,
    headers: dict[str, str],
    code: str,
    after: int | None,
    stream: bool,
) -> None:
    wire.upstream.answers(body, status=status, headers=headers)

    with pytest.raises(AppError) as failed:
        await wire.ask("chat", OLD, STREAM if stream else BODY)

    error: Any = failed.value
    assert (error.status, error.code) == (status, code)
    wait = "" if after is None else f" Please try again in {after}s."
    assert error.message in ("It cannot be.", f"It cannot be.{wait}")
    assert error.retry_after_s == after
    assert len(wire.upstream.requests) == 1


PAGES = [
    (502, b"<html>nginx</html>"),
    (500, b'Traceback (most recent call last):\n  File "/srv/app.py", line 3\nKeyError'),
    (500, b""),
]


@pytest.mark.parametrize(("status", "body"), PAGES)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_that_are_not_the_providers_are_not_shown(
    wire: LibraryWire, status: int, body: bytes, stream: bool
) -> None:
    wire.upstream.answers(body, status=status)

    with pytest.raises(AppError) as failed:
        await wire.ask("chat", OLD, STREAM if stream else BODY)

    message = failed.value.message
    assert failed.value.status == status
    assert not any(word in message for word in ("html", "Traceback", ".py", "b'", "litellm"))


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_within_an_answer_200(wire: LibraryWire, stream: bool) -> None:
    body = fault(429, "RESOURCE_EXHAUSTED", DELAY)
    if stream:
        wire.upstream.streams([b"data: " + body + b"\r\n\r\n"])
    else:
        wire.upstream.answers(body)

    with pytest.raises(AppError) as failed:
        await wire.ask("chat", OLD, STREAM if stream else BODY)

    error: Any = failed.value
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    assert error.message.startswith("It cannot be.")


async def test_an_error_amid_a_stream(wire: LibraryWire) -> None:
    wire.upstream.streams(
        [*frames(piece({"text": "hel"})), b"data: " + fault(503, "UNAVAILABLE") + b"\r\n\r\n"]
    )

    response = await wire.ask("chat", OLD, STREAM)

    assert response.error is not None
    assert (response.error.status, response.error.message) == (503, "It cannot be.")


@pytest.mark.parametrize("stream", [False, True])
async def test_no_credential_follows_a_redirect(wire: LibraryWire, stream: bool) -> None:
    async def script(request: UpstreamRequest, connection: UpstreamConnection) -> None:
        if request.path.startswith("/elsewhere"):
            await connection.answer(json.dumps(answer({"text": "hi"})).encode())
            return
        headers = {"location": f"{wire.upstream.url}/elsewhere"}
        await connection.answer(b"", status=307, headers=headers)

    wire.upstream.does(script)

    with pytest.raises(AppError) as failed:
        await wire.ask("chat", OLD, STREAM if stream else BODY)

    assert failed.value.status == 502
    assert [request.path.partition("?")[0][:10] for request in wire.upstream.requests] == [
        "/models/ge"
    ]


async def test_giving_up_closes_the_providers_connection(wire: LibraryWire) -> None:
    closed = asyncio.Event()

    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.begin_stream()
        for frame in frames(piece({"text": "hel"})):
            await connection.chunk(frame)
        await connection.closed()
        closed.set()

    wire.upstream.does(script)
    stream = await wire.open("chat", NEW, STREAM)
    assert isinstance(stream, Stream)
    async for _ in stream.chunks:
        break
    await stream.close()
    async with asyncio.timeout(PATIENCE_S):
        await closed.wait()
