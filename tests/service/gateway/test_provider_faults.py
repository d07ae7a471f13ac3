"""Providers that refuse, fail or break off: said in the client's format, metered once."""

import gc
import json

import pytest

from services.gateway.calls.call import Call
from tests.servers import HOST, free_port
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import TOKENS, Dialect
from tests.service.gateway.faults import check_event
from tests.service.gateway.stage import Client, open_gateway
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books
from tests.support.polling import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 529])
async def test_a_providers_error_passes_unchanged(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, status: int, stream: bool
) -> None:
    """Its words, its headers, and no charge."""
    secret = await books.add_key()
    content = json.dumps({"error": {"message": "their own words"}}, indent=3).encode()
    headers = {"retry-after": "7", "x-should-retry": "true", "content-type": "application/json"}
    upstream.answers(content, status=status, headers=headers)

    response = await gateway.post(dialect.path, secret, dialect.body(stream=stream))

    assert (response.status_code, response.content) == (status, content)
    assert {name: response.headers[name] for name in headers} == headers
    event = await check_event(books, secret, status, "upstream_refused")
    assert response.headers["request-id"] == response.headers["x-request-id"] == event.call_id


async def test_a_provider_that_is_down_is_a_502(
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
    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        connection.cut()

    upstream.does(script)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=stream))

    dialect.check_error(response, 502, "upstream_unavailable")
    await check_event(books, secret, 502, "upstream_unavailable")


@pytest.mark.parametrize(("how", "status"), [("refused", 400), ("failed", 502), ("broken", 200)])
async def test_a_failed_call_leaves_nothing_to_the_collector(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, how: str, status: int
) -> None:
    """Its body may be large, and many may fail before the next collection."""

    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        if how == "broken":
            await connection.begin_stream()
            await connection.chunk(dialect.frames[0])
        connection.cut()

    def calls() -> int:
        return sum(type(each) is Call for each in gc.get_objects())

    async def none_is_left() -> bool:
        return calls() <= before

    upstream.does(script)
    secret = await books.add_key()
    body = b"no JSON" if how == "refused" else dialect.body(stream=how == "broken")
    gc.collect()
    gc.disable()
    # Other tests of this process may keep theirs.
    before = calls()
    try:
        response = await gateway.post(dialect.path, secret, body)
        assert response.status_code == status
        # The handler ends a moment after its answer is sent.
        await eventually(none_is_left)
    finally:
        gc.enable()


async def test_a_truncated_answer(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
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
async def test_an_unreadable_answer(
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


async def test_an_answer_that_is_too_large(
    books: Books, upstream: Upstream, dialect: Dialect, settings_with: SettingsWith
) -> None:
    upstream.answers(dialect.answer)
    secret = await books.add_key()

    async with open_gateway(settings_with(max_answer_bytes=len(dialect.answer) - 1)) as gateway:
        response = await gateway.post(dialect.path, secret, dialect.body())

    error = dialect.check_error(response, 502, "upstream_unavailable")
    assert "larger than" in error["message"]
    await check_event(books, secret, 502, "upstream_unavailable")


@pytest.mark.parametrize("media_type", ["text/html", "text/plain; charset=utf-8", "nonsense", ""])
async def test_an_answer_of_another_media_type_is_still_read(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, media_type: str
) -> None:
    upstream.answers(dialect.answer, headers={"content-type": media_type})
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body())

    assert (response.status_code, response.content) == (200, dialect.answer)
    event = await books.the_event(secret)
    assert (event.status, event.usage, event.usage_source) == ("ok", TOKENS, "provider")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_html_page_is_rejected(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, stream: bool
) -> None:
    upstream.answers(b"<html>Welcome</html>", headers={"content-type": "text/html"})
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=stream))

    dialect.check_error(response, 502, "upstream_unavailable")
    await check_event(books, secret, 502, "upstream_unavailable")


async def test_an_unrequested_stream_is_metered(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    upstream.streams(dialect.frames)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(**dialect.wanted))

    assert (response.status_code, response.content) == (200, dialect.stream)
    event = await books.the_event(secret)
    assert (event.status, event.usage) == ("ok", TOKENS)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_retry_after_of_an_hour_is_not_waited_for(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, stream: bool
) -> None:
    content = b'{"error": {"message": "come back later"}}'
    upstream.answers(content, status=429, headers={"retry-after": "3600"})
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=stream))

    assert (response.status_code, response.content) == (429, content)
    # Some clients would wait for all of that.
    assert "retry-after" not in response.headers
    assert response.headers["x-should-retry"] == "false"
    assert len(upstream.requests) == 1
    await check_event(books, secret, 429, "upstream_refused")
