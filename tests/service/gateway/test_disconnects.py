"""Clients that leave: the provider's work is stopped, and what came until then is metered."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deploy.local.provider.app import StandIn
from deploy.local.provider.oracle import Oracle
from libs.common.schemas.usage import UsageEvent
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, TOKENS, Dialect
from tests.service.gateway.stage import Client, bearer, open_gateway
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books
from tests.support.polling import PATIENCE_S, eventually
from tests.support.sockets import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand_in(oracle: Oracle, settings_with: SettingsWith) -> AsyncIterator[Client]:
    """A gateway to the local stack's stand-in for providers."""
    async with serving(StandIn(oracle)) as url:
        settings = settings_with(openai_base_url=f"{url}/v1", anthropic_base_url=url)
        async with open_gateway(settings) as client:
            yield client


async def event_of(books: Books, secret: str) -> UsageEvent:
    async def has_come() -> bool:
        return bool(await books.events(secret))

    await eventually(has_come)
    return await books.the_event(secret)


async def test_a_client_disconnects_in_mid_stream(
    stand_in: Client, oracle: Oracle, books: Books, dialect: Dialect
) -> None:
    secret = await books.add_key()
    body = dialect.body('[[stand-in chunks=5000 chunk_delay_ms=20 text="12345678"]]', stream=True)
    before = oracle.page(0, 10_000)["next"]

    async with stand_in.http.stream(
        "POST", dialect.path, json=body, headers=bearer(secret)
    ) as response:
        received = b""
        async for part in response.aiter_bytes():
            received += part
            if received.count(b"12345678") >= 3:
                break

    page = await oracle.wait_page(before, 10, PATIENCE_S)
    (call,) = page["calls"]
    assert call.outcome == "client_gone"
    assert call.client_request_id == response.headers["x-request-id"]
    event = await event_of(books, secret)
    assert (event.status, event.http_status) == ("client_closed", 499)
    assert event.usage_source == "estimated"
    assert event.usage is not None
    assert event.usage.input_text is not None
    assert event.usage.output_text is not None
    # Two to three tokens for each delta, of which a few more may have been on their way.
    assert 6 <= event.usage.output_text <= 3 * (call.deltas + 1)
    assert 0 < await books.held(secret) < event.held_nusd


async def test_a_client_disconnects_before_the_first_byte(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    hung_up = asyncio.Event()

    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.begin_stream()
        await connection.closed()
        hung_up.set()

    upstream.does(script)
    secret = await books.add_key()

    async with gateway.http.stream(
        "POST", CHAT.path, json=CHAT.body(stream=True), headers=bearer(secret)
    ) as response:
        assert response.status_code == 200

    await asyncio.wait_for(hung_up.wait(), PATIENCE_S)
    event = await event_of(books, secret)
    assert (event.status, event.usage_source) == ("client_closed", "estimated")
    assert event.usage is not None
    assert event.usage.output_text == 0
    assert event.first_byte_ms is None


async def test_a_client_disconnects_before_its_request_is_complete(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    upstream.answers(dialect.answer)
    secret = await books.add_key()
    url = gateway.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = (
        f"POST {dialect.path} HTTP/1.1\r\nhost: x\r\nx-api-key: {secret}\r\n"
        "content-type: application/json\r\ncontent-length: 100\r\n\r\n"
    )
    writer.write(head.encode() + b'{"model": ')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await reader.read() == b""

    event = await event_of(books, secret)
    assert (event.status, event.http_status, event.usage) == ("client_closed", 499, None)
    assert upstream.requests == []


async def test_an_answer_is_metered_after_its_client_disconnected(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    """The provider has been asked, and will charge for it."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        asked.set()
        await left.wait()
        await connection.answer(CHAT.answer)

    upstream.does(script)
    secret = await books.add_key()
    call = asyncio.create_task(gateway.post(CHAT.path, secret, CHAT.body()))
    await asyncio.wait_for(asked.wait(), PATIENCE_S)
    call.cancel()
    await asyncio.wait({call})
    left.set()

    event = await event_of(books, secret)
    assert (event.status, event.usage) == ("ok", TOKENS)
