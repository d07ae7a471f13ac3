"""Streams that break off, stall or end in an error: said in the stream, metered once."""

import asyncio
import json

import pytest

from services.gateway.formats.sse import MAX_FRAME_BYTES
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import DIALECTS, TEXT, TEXT_TOKENS, TOKENS, Dialect
from tests.service.gateway.faults import check_error_frame, check_event, split_last
from tests.service.gateway.stage import Client, open_gateway
from tests.service.gateway.upstream import (
    EVENT_STREAM,
    Upstream,
    UpstreamConnection,
    UpstreamRequest,
)
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("shown", [1, 2])
async def test_a_truncated_stream(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, shown: int
) -> None:
    """Whole frames pass; the torn one does not, so that the error after it can be read."""
    torn = dialect.frames[shown][:20]

    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.begin_stream()
        for frame in dialect.frames[:shown]:
            await connection.chunk(frame)
        await connection.chunk(torn)
        connection.cut()

    upstream.does(script)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=True))

    assert response.status_code == 200
    before, error = split_last(response.content)
    assert b"".join(dialect.frames[:shown]).startswith(before)
    check_error_frame(dialect, error, response.headers["x-request-id"], 502)
    event = await check_event(books, secret, 200, "upstream_unavailable", TOKENS)
    assert event.usage_source == "estimated"
    assert event.usage is not None
    if before.count(TEXT.encode()):
        assert event.usage.output_text == TEXT_TOKENS


async def test_a_stream_that_ends_early(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    """No SDK notices by itself."""
    upstream.streams(dialect.frames[:2])
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=True))

    before, error = split_last(response.content)
    assert before == b"".join(dialect.frames[:2])
    check_error_frame(dialect, error, response.headers["x-request-id"], 502)
    event = await check_event(books, secret, 200, "upstream_unavailable", TOKENS)
    assert event.usage is not None
    assert event.usage.output_text == TEXT_TOKENS
    assert await books.held(secret) > 0


async def test_a_stream_with_the_providers_own_error(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    fields = {"error": {"type": "overloaded_error", "message": "their own words"}}
    error = f"data: {json.dumps(fields)}\n\n".encode()
    if dialect.name != "chat":
        error = b"event: error\n" + error
    upstream.streams([*dialect.frames[:2], error])
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=True))

    assert response.content == b"".join(dialect.frames[:2]) + error
    event = await check_event(books, secret, 200, "upstream_refused", TOKENS)
    assert event.usage_source == "estimated"


async def test_a_stalled_provider(
    books: Books, upstream: Upstream, settings_with: SettingsWith
) -> None:
    """Before the answer, before a stream's first byte, and in its middle; all at once."""

    async def script(request: UpstreamRequest, connection: UpstreamConnection) -> None:
        (dialect,) = (some for some in DIALECTS if some.upstream_path == request.path)
        if "stream" in request.fields:
            await connection.begin_stream()
            for frame in dialect.frames[: request.fields["shown"]]:
                await connection.chunk(frame)
        await connection.closed()

    async def whole(dialect: Dialect) -> None:
        secret = await books.add_key()
        response = await gateway.post(dialect.path, secret, dialect.body())
        dialect.check_error(response, 504, "upstream_timeout")
        await check_event(books, secret, 504, "upstream_timeout")

    async def streamed(dialect: Dialect, shown: int) -> None:
        secret = await books.add_key()
        body = dialect.body(stream=True, shown=shown)
        response = await gateway.post(dialect.path, secret, body)
        if not shown:
            # Nothing has gone out, so there is still a status to say it by.
            dialect.check_error(response, 504, "upstream_timeout")
            await check_event(books, secret, 504, "upstream_timeout")
            return
        before, error = split_last(response.content)
        assert before == b"".join(dialect.frames[:shown])
        check_error_frame(dialect, error, response.headers["x-request-id"], 504)
        await check_event(books, secret, 200, "upstream_timeout", TOKENS)

    upstream.does(script)
    async with open_gateway(settings_with(upstream_read_timeout_s=1)) as gateway:
        await asyncio.gather(
            *(whole(dialect) for dialect in DIALECTS),
            *(streamed(dialect, shown) for dialect in DIALECTS for shown in (0, 2)),
        )


async def test_a_stream_event_that_is_too_large(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.begin(200, {"content-type": EVENT_STREAM})
        await connection.write(b"data: ")
        for _ in range(MAX_FRAME_BYTES // 1_000_000 + 1):
            await connection.write(b"x" * 1_000_000)
        await connection.closed()

    upstream.does(script)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=True))

    before, error = split_last(response.content)
    assert before == b""
    check_error_frame(dialect, error, response.headers["x-request-id"], 502)
    event = await check_event(books, secret, 200, "upstream_unavailable", TOKENS)
    assert event.usage_source == "estimated"


@pytest.mark.parametrize(
    "garbage", [b'data: {"half": \n\n', b"data: \xff\xfe\n\n", b"data: <html>\n\n"]
)
async def test_an_unreadable_stream_event(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, garbage: bytes
) -> None:
    upstream.streams([*dialect.frames[:2], garbage, *dialect.frames[2:]])
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=True))

    before, error = split_last(response.content)
    assert before == b"".join(dialect.frames[:2])
    check_error_frame(dialect, error, response.headers["x-request-id"], 502)
    event = await check_event(books, secret, 200, "upstream_unavailable", TOKENS)
    assert event.usage is not None
    assert event.usage.output_text == TEXT_TOKENS


async def test_an_unstreamed_answer_to_a_stream_request_passes(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    upstream.answers(dialect.answer)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=True))

    assert response.content == dialect.answer
    assert (await books.the_event(secret)).usage == TOKENS
