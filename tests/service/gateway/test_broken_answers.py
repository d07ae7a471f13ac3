"""What was told before an answer broke off or failed is charged for, relayed or translated."""

import json
from typing import Any

import httpx2
import pytest

from libs.common.domain.token_classes import total_input
from libs.common.schemas.usage import ClientFormat, UsageEvent
from tests.service.gateway.dialects import DIALECTS, RESPONSES, Dialect, chunk, named
from tests.service.gateway.routes import add_route, deployment
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

_TEXT = "x" * 40
_RUNNING = {"prompt_tokens": 5_000, "completion_tokens": 2, "total_tokens": 5_002}
_STARTED: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "usage": {"input_tokens": 1_000, "output_tokens": 1},
}
_INITIAL: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "status": "in_progress",
    "service_tier": "priority",
    "output": [],
    "usage": None,
}
_DELTA = {"output_index": 0, "item_id": "msg_1", "content_index": 0, "delta": _TEXT}
_OVERLOADED = {"type": "overloaded_error", "message": "Overloaded"}


async def failed_call(
    gateway: Client,
    upstream: Upstream,
    books: Books,
    dialect: Dialect,
    speaks: ClientFormat,
    *,
    stream: bool = True,
) -> tuple[httpx2.Response, UsageEvent]:
    model = "anthropic/claude-haiku-4-5" if speaks == "messages" else "openai/gpt-4o"
    route = await add_route(books, deployment(upstream, "a", model, formats=(speaks,)))
    secret = await books.add_key()
    response = await gateway.post(dialect.path, secret, dialect.body(model=route, stream=stream))
    event = await books.the_event(secret)
    assert event.translated is (dialect.name != speaks)
    assert event.status == "upstream_error"
    return response, event


def breaks_off(upstream: Upstream, *frames: bytes) -> None:
    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.begin_stream()
        for frame in frames:
            await connection.chunk(frame)
        connection.cut()

    upstream.does(script)


async def test_a_running_count_is_kept(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    """As vLLM counts; of the text that came, the prompt is not to be guessed."""
    breaks_off(upstream, chunk({"content": _TEXT}, usage=_RUNNING))
    _, event = await failed_call(gateway, upstream, books, dialect, "chat")
    assert event.usage is not None
    assert event.usage.input_text == 5_000


@pytest.mark.parametrize("speaks", ["chat", "responses"])
async def test_the_tier_that_was_told_is_kept(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, speaks: ClientFormat
) -> None:
    """A project's setting may have chosen it: nobody asked for it here."""
    if speaks == "chat":
        breaks_off(upstream, chunk({"content": _TEXT}, service_tier="priority"))
    else:
        start = named("response.created", response=_INITIAL)
        breaks_off(upstream, start, named("response.output_text.delta", **_DELTA))
    _, event = await failed_call(gateway, upstream, books, dialect, speaks)
    assert (event.usage_source, event.usage and event.usage.service_tier) == (
        "estimated",
        "priority",
    )


async def test_a_prompt_that_was_read_before_an_error_is_charged(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    upstream.streams([named("message_start", message=_STARTED), named("error", error=_OVERLOADED)])
    response, event = await failed_call(gateway, upstream, books, dialect, "messages")
    assert "Overloaded" in response.text
    assert event.usage is not None
    assert total_input(event.usage) == 1_000


async def test_an_immediate_error_is_not_a_stream(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    """So that another deployment can be asked; OpenAI would tell of the end in a second event."""
    upstream.streams([named("error", code="server_error", message="No.", param=None)])
    response, event = await failed_call(gateway, upstream, books, dialect, "responses")
    assert (response.status_code, event.usage) == (500, None)


@pytest.mark.parametrize("client", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("used", [None, {"input_tokens": 5_000, "output_tokens": 700}])
async def test_a_failed_response_costs_what_it_used(
    gateway: Client, upstream: Upstream, books: Books, client: Dialect, used: Any
) -> None:
    failed = {
        **_INITIAL,
        "status": "failed",
        "error": {"code": "server_error", "message": "The model failed."},
        "usage": used,
    }
    upstream.answers(json.dumps(failed).encode())
    response, event = await failed_call(gateway, upstream, books, client, "responses", stream=False)
    assert (response.status_code == 200) is (client is RESPONSES)
    assert "The model failed." in response.text
    assert (event.usage and (event.usage.input_text, event.usage.output_text)) == (
        used and (5_000, 700)
    )
