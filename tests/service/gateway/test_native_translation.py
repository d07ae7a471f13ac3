"""Calls that the gateway translates itself: what the provider gets, and what the client."""

import json
from functools import cache
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter
from structlog.testing import capture_logs

from tests.service.gateway.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from tests.service.gateway.routes import Endpoints, add_route, deployment
from tests.service.gateway.stage import Client
from tests.service.gateway.translation_calls import BODIES, PIXEL
from tests.service.gateway.translation_wire import (
    ANTHROPIC_MESSAGE,
    CHAT_COMPLETION,
    anthropic_sse,
    chat_sse,
    events_of,
)
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAIRS = [
    (CHAT, "anthropic/claude-haiku-4-5", ()),
    (RESPONSES, "anthropic/claude-haiku-4-5", ()),
    (MESSAGES, "openai/gpt-4o", ("chat",)),
    (RESPONSES, "openai/gpt-4o", ("chat",)),
]


@pytest.mark.parametrize(("dialect", "model", "formats"), PAIRS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_call_is_translated_both_ways(
    gateway: Client,
    upstream: Upstream,
    books: Books,
    dialect: Dialect,
    model: str,
    formats: tuple[Any, ...],
    stream: bool,
) -> None:
    is_claude = model.startswith("anthropic/")
    endpoints = Endpoints(upstream)
    if stream:
        endpoints.streams("a", anthropic_sse() if is_claude else chat_sse())
    else:
        endpoints.answers("a", ANTHROPIC_MESSAGE if is_claude else CHAT_COMPLETION)
    served = deployment(upstream, "a", model, **({"formats": formats} if formats else {}))
    route = await add_route(books, served)
    secret = await books.add_key()
    body = {**BODIES[dialect.name], "model": route, "stream": stream}

    response = await gateway.post(dialect.path, secret, body)

    assert response.status_code == 200, response.text
    (request,) = upstream.requests
    assert request.fields["model"] == model.partition("/")[2]
    for part in ("Be brief.", "Hi", PIXEL, "weather"):
        assert part in json.dumps(request.fields)
    whole = put_together(dialect, response.text) if stream else response.json()
    assert whole["model"] == route
    text = json.dumps(whole)
    for part in ("Hello", "weather", "Oslo", *(("Rain?",) if is_claude else ())):
        assert part in text
    event = await books.the_event(secret)
    assert (event.status, event.translated, event.usage_source) == ("ok", True, "provider")
    assert event.usage is not None
    assert (event.usage.input_text, event.usage.cache_read) == (10, 200)


_UNREADABLE = (
    (CHAT, "anthropic/claude-haiku-4-5", b'data: {"type":"content_block_delta","index":"x"}\n\n'),
    (RESPONSES, "anthropic/claude-haiku-4-5", b'data: {"type":7}\n\n'),
    (MESSAGES, "openai/gpt-4o", b'data: {"id":"c","choices":{}}\n\n'),
)


@pytest.mark.parametrize(("dialect", "model", "garbled"), _UNREADABLE)
@pytest.mark.parametrize("place", [0, 3], ids=["first", "midway"])
async def test_the_reason_of_an_unreadable_event_is_shown_to_the_operator_alone(
    gateway: Client,
    upstream: Upstream,
    books: Books,
    dialect: Dialect,
    model: str,
    garbled: bytes,
    place: int,
) -> None:
    is_claude = model.startswith("anthropic/")
    endpoints = Endpoints(upstream)
    frames = anthropic_sse() if is_claude else chat_sse()
    endpoints.streams("a", [*frames[:place], garbled, *frames[place:]])
    formats = {} if is_claude else {"formats": ("chat",)}
    route = await add_route(books, deployment(upstream, "a", model, **formats), max_attempts=1)
    secret = await books.add_key()

    with capture_logs() as logs:
        body = {**BODIES[dialect.name], "model": route, "stream": True}
        response = await gateway.post(dialect.path, secret, body)

    assert "an event that cannot be read." in response.text
    assert "Expected" not in response.text
    (entry,) = [line for line in logs if "_failed" in line["event"]]
    assert "Expected `" in entry["reason"]
    event = await books.the_event(secret)
    assert (event.status, event.error_code) == ("upstream_error", "upstream_unavailable")


# Each takes half a second of CPU to build.
@cache
def _message_event() -> TypeAdapter[Any]:
    return TypeAdapter(RawMessageStreamEvent)


@cache
def _response_event() -> TypeAdapter[Any]:
    return TypeAdapter(ResponseStreamEvent)


def put_together(dialect: Dialect, text: str) -> dict[str, Any]:
    """By the SDKs' own accumulators, each event judged by its type."""
    events = events_of([part.encode() + b"\n\n" for part in text.split("\n\n") if part])
    if dialect.name == "messages":
        message: Any = None
        buffers: dict[int, bytes] = {}
        # The SDK itself leaves pings out.
        for event in (event for event in events if event["type"] != "ping"):
            adapted = _message_event().validate_python(event, strict=True)
            message = accumulate_event(event=adapted, current_snapshot=message, json_bufs=buffers)
        return dict(message.model_dump())
    if dialect.name == "responses":
        for event in events:
            _response_event().validate_python(event, strict=True)
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        return dict(events[-1]["response"])
    state = ChatCompletionStreamState()
    for event in events:
        state.handle_chunk(ChatCompletionChunk.model_validate(event))
    return dict(state.get_final_completion().model_dump())
