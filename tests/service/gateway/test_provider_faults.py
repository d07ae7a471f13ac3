"""Providers that refuse, fail or break off: said in the client's format, metered once."""

import asyncio
import json
from typing import Any

import pytest

from libs.common.schemas.usage import TokenUsage, UsageEvent
from services.gateway.sse import MAX_FRAME_BYTES
from tests.servers import HOST, free_port
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import DIALECTS, TEXT, TOKENS, Dialect
from tests.service.gateway.stage import Books, Client, open_gateway
from tests.service.gateway.upstream import EVENT_STREAM, Connection, Request, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def check_event(
    books: Books, secret: str, status: int, code: str, usage: TokenUsage | None = None
) -> UsageEvent:
    """One `upstream_error`; a hold of nothing more than what was used is left."""
    event = await books.the_event(secret)
    assert (event.status, event.http_status, event.error_code) == ("upstream_error", status, code)
    assert event.held_nusd > 0
    if usage is None:
        assert (event.usage, event.usage_source) == (None, "none")
        assert await books.held(secret) == 0
    return event


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 529])
async def test_a_providers_error_passes_unchanged(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, status: int, stream: bool
) -> None:
    """Its words, its headers, and no charge."""
    secret = await books.add_key()
    said = json.dumps({"error": {"message": "their own words"}}, indent=3).encode()
    headers = {"retry-after": "7", "x-should-retry": "true", "content-type": "application/json"}
    upstream.answers(said, status=status, headers=headers)

    response = await gateway.post(dialect.path, secret, dialect.body(stream=stream))

    assert (response.status_code, response.content) == (status, said)
    assert {name: response.headers[name] for name in headers} == headers
    event = await check_event(books, secret, status, "upstream_refused")
    assert response.headers["request-id"] == response.headers["x-request-id"] == event.call_id


async def test_a_provider_that_is_down(
    books: Books, dialect: Dialect, settings_with: SettingsWith
) -> None:
    nowhere = f"http://{HOST}:{free_port()}"
    secret = await books.add_key()
    settings = settings_with(openai_base_url=f"{nowhere}/v1", anthropic_base_url=nowhere)

    async with open_gateway(settings) as gateway:
        response = await gateway.post(dialect.path, secret, dialect.body())

    dialect.check_error(response, 502, "upstream_unavailable")
    assert nowhere not in response.text
    await check_event(books, secret, 502, "upstream_unavailable")


async def test_a_provider_that_was_given_no_key_is_not_called(
    books: Books, upstream: Upstream, dialect: Dialect, settings_with: SettingsWith
) -> None:
    upstream.answers(dialect.answer)
    secret = await books.add_key()

    async with open_gateway(settings_with(openai_api_key=None, anthropic_api_key=None)) as gateway:
        response = await gateway.post(dialect.path, secret, dialect.body())

    error = dialect.check_error(response, 503, "provider_not_configured")
    assert "_API_KEY" in error["message"]
    assert upstream.requests == []
    event = await books.the_event(secret)
    assert (event.status, event.usage) == ("refused", None)
    assert await books.held(secret) == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_provider_that_closes_instead_of_answering(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, stream: bool
) -> None:
    async def script(_request: Request, connection: Connection) -> None:
        connection.cut()

    upstream.does(script)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=stream))

    dialect.check_error(response, 502, "upstream_unavailable")
    await check_event(books, secret, 502, "upstream_unavailable")


async def test_an_answer_that_is_cut_short(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    async def script(_request: Request, connection: Connection) -> None:
        await connection.begin(200, {"content-length": "1000"})
        await connection.write(b'{"half": ')
        connection.cut()

    upstream.does(script)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body())

    dialect.check_error(response, 502, "upstream_unavailable")
    await check_event(books, secret, 502, "upstream_unavailable")


@pytest.mark.parametrize(
    "garbage", [b'{"half": ', b"<html>", b"", b"[]", b"\xff\xfe", b'{"usage": {"a": "\xff"}}']
)
async def test_an_answer_that_cannot_be_read(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, garbage: bytes
) -> None:
    upstream.answers(garbage)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body())

    if garbage == b'{"usage": {"a": "\xff"}}':
        # JSON enough to be passed on, but nothing that could be counted.
        assert response.content == garbage
        assert (await books.the_event(secret)).usage_source == "estimated"
    else:
        dialect.check_error(response, 502, "upstream_unavailable")
        await check_event(books, secret, 502, "upstream_unavailable")


async def test_a_redirect_is_not_followed(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    """The provider's key goes to the address that it was given for."""
    upstream.answers(b"", status=307, headers={"location": f"{upstream.url}/elsewhere"})
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body())

    dialect.check_error(response, 502, "upstream_unavailable")
    assert [request.path for request in upstream.requests] == [dialect.upstream_path]


@pytest.mark.parametrize("shown", [1, 2])
async def test_a_stream_that_is_cut(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, shown: int
) -> None:
    """Whole frames pass; the torn one does not, so that the error after it can be read."""
    torn = dialect.frames[shown][:20]

    async def script(_request: Request, connection: Connection) -> None:
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
        assert event.usage.output_text == 4


async def test_a_stream_that_ends_too_early(
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
    assert event.usage.output_text == 4
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


async def test_providers_that_stall(
    books: Books, upstream: Upstream, settings_with: SettingsWith
) -> None:
    """Before the answer, before a stream's first byte, and in its middle; all at once."""

    async def script(request: Request, connection: Connection) -> None:
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


async def test_an_answer_that_is_too_large(
    books: Books, upstream: Upstream, dialect: Dialect, settings_with: SettingsWith
) -> None:
    upstream.answers(dialect.answer)
    secret = await books.add_key()

    async with open_gateway(settings_with(max_answer_bytes=len(dialect.answer) - 1)) as gateway:
        response = await gateway.post(dialect.path, secret, dialect.body())

    error = dialect.check_error(response, 502, "upstream_unavailable")
    assert "larger than" in error["message"]


async def test_a_stream_event_that_is_too_large(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    async def script(_request: Request, connection: Connection) -> None:
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


async def test_a_whole_answer_to_a_stream_passes(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    upstream.answers(dialect.answer)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=True))

    assert response.content == dialect.answer
    assert (await books.the_event(secret)).usage == TOKENS


def split_last(body: bytes) -> tuple[bytes, bytes]:
    """The last frame, and what came before it."""
    start = body.removesuffix(b"\n\n").rfind(b"\n\n")
    cut = 0 if start < 0 else start + 2
    return body[:cut], body[cut:]


def check_error_frame(dialect: Dialect, frame: bytes, request_id: str, status: int) -> None:
    """The gateway's own error, as the format's streams say it."""
    head, _, data = frame.removesuffix(b"\n\n").partition(b"data: ")
    fields: dict[str, Any] = json.loads(data)
    assert head == (b"" if dialect.name == "chat" else b"event: error\n")
    code = "upstream_timeout" if status == 504 else "upstream_unavailable"
    if dialect.name == "responses":
        assert (fields["type"], fields["code"]) == ("error", code)
        fields = {"error": fields["error"]}
    dialect.check_error_body(fields, request_id, status, code)
