"""Clients that do not read what they are sent are cut off, and others do not wait for them."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from libs.common.schemas.usage import UsageEvent
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, Dialect
from tests.service.gateway.process import gateway_process
from tests.service.gateway.stage import Client, open_gateway
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books
from tests.support.polling import PATIENCE_S, eventually
from tests.unit.gateway.streams import chat_chunk, data

pytestmark = pytest.mark.asyncio(loop_scope="module")

_FRAME = data(chat_chunk("x" * 16_000))
# Far more than all buffers between a provider and a client hold.
_FRAMES = 16_000
_MAX_BUFFERED = 48 * 1024 * 1024


class Flood:
    """A provider that streams as fast as it is read, for calls that say so; others it answers."""

    def __init__(self, upstream: Upstream) -> None:
        self.open = 0
        self.written = 0
        upstream.does(self._script)

    async def _script(self, request: UpstreamRequest, connection: UpstreamConnection) -> None:
        if not request.fields.get("stream"):
            await connection.answer(CHAT.answer)
            return
        self.open += 1
        try:
            await connection.begin_stream()
            for _ in range(_FRAMES):
                await connection.chunk(_FRAME)
                self.written += len(_FRAME)
        finally:
            self.open -= 1


@asynccontextmanager
async def not_reading(client: Client, secret: str, count: int = 1) -> AsyncIterator[None]:
    """So many clients each begin a stream of which they read nothing."""
    url = client.http.base_url
    body = json.dumps(CHAT.body(stream=True)).encode()
    head = (
        f"POST {CHAT.path} HTTP/1.1\r\nhost: x\r\nx-api-key: {secret}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        for _ in range(count):
            client_socket = stack.enter_context(socket.socket())
            client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client_socket.setblocking(False)
            await loop.sock_connect(client_socket, (url.host, url.port))
            await loop.sock_sendall(client_socket, head.encode() + body)
        yield


async def are_open(flood: Flood, count: int) -> None:
    async def has_come() -> bool:
        return flood.open == count

    await eventually(has_come)


async def events_of(books: Books, secret: str, count: int) -> list[UsageEvent]:
    async def have_come() -> bool:
        return len(await books.events(secret)) == count

    await eventually(have_come)
    return await books.events(secret)


async def test_clients_that_do_not_read_are_limited_to_their_share(
    upstream: Upstream, books: Books, settings_with: SettingsWith, tmp_path: Path
) -> None:
    flood = Flood(upstream)
    stuck, other = await books.add_key(), await books.add_key()
    settings = settings_with(upstream_max_connections=4, account_share_percent=50, send_timeout_s=1)
    async with (
        gateway_process(settings, tmp_path / "log") as (_, client),
        not_reading(client, stuck, count=6),
    ):
        refused = [event for event in await events_of(books, stuck, 4) if event.http_status == 503]
        assert [event.error_code for event in refused] == ["no_upstream_connection"] * 4
        assert [event.attempts for event in refused] == [0] * 4
        served = await client.post(CHAT.path, other, CHAT.body())
        assert served.status_code == 200
        # Those that do not read are cut off, and their connections to the provider end.
        await are_open(flood, 0)
        ended = [event for event in await events_of(books, stuck, 6) if event.http_status != 503]
        assert [event.status for event in ended] == ["client_closed"] * 2
        page = (await client.http.get("/metrics")).text
        assert "http_responses_unread_total 2.0" in page
        assert "gateway_upstream_connections 0.0" in page
    assert flood.written < _MAX_BUFFERED


async def test_an_account_over_its_share_gets_an_error(
    upstream: Upstream, books: Books, settings_with: SettingsWith, dialect: Dialect
) -> None:
    flood = Flood(upstream)
    account = await books.add_account()
    stuck, secret = await books.add_key(account), await books.add_key(account)
    settings = settings_with(upstream_max_connections=2, account_share_percent=50)
    async with open_gateway(settings) as client, not_reading(client, stuck):
        await are_open(flood, 1)
        refused = await client.post(dialect.path, secret, dialect.body())
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "2"
    error = refused.json()["error"]
    assert "its share of this gateway's 2" in error["message"]
    assert error.get("code", "no_upstream_connection") == "no_upstream_connection"


async def test_a_busy_pool_is_not_a_slow_provider(
    upstream: Upstream, books: Books, settings_with: SettingsWith
) -> None:
    flood = Flood(upstream)
    stuck = [await books.add_key() for _ in range(2)]
    secret = await books.add_key()
    settings = settings_with(
        upstream_max_connections=2, account_share_percent=50, upstream_pool_timeout_s=1
    )
    async with open_gateway(settings) as client:
        async with not_reading(client, stuck[0]), not_reading(client, stuck[1]):
            await are_open(flood, 2)
            for _ in range(4):
                refused = await client.post(CHAT.path, secret, CHAT.body())
                assert refused.status_code == 503
                assert refused.json()["error"]["code"] == "no_upstream_connection"
                assert "All 2 connections" in refused.json()["error"]["message"]
        await are_open(flood, 0)
        # Nothing was held against the deployment.
        assert (await client.post(CHAT.path, secret, CHAT.body())).status_code == 200


async def test_an_unread_stream_ends_with_its_calls_timeout(
    upstream: Upstream, books: Books, settings_with: SettingsWith
) -> None:
    """Its client may still have the gateway wait, and no longer the provider."""
    flood = Flood(upstream)
    secret = await books.add_key()
    settings = settings_with(upstream_total_timeout_s=2)
    async with open_gateway(settings) as client, not_reading(client, secret):
        await are_open(flood, 1)
        await are_open(flood, 0)
        (event,) = await events_of(books, secret, 1)
        page = (await client.http.get("/metrics")).text
    assert (event.status, event.http_status) == ("client_closed", 499)
    assert event.error_code == "response_unread"
    assert event.usage_source == "estimated"
    assert event.usage is not None
    assert event.usage.output_text is not None
    assert event.usage.output_text > 0
    assert "gateway_upstream_connections 0.0" in page
    assert flood.written < _MAX_BUFFERED


async def test_an_unread_answer_holds_no_provider_connection(
    upstream: Upstream, books: Books, settings_with: SettingsWith
) -> None:
    whole = json.loads(CHAT.answer)
    whole["choices"][0]["message"]["content"] = "x" * 30_000_000
    upstream.answers(json.dumps(whole).encode())
    secret = await books.add_key()
    async with open_gateway(settings_with()) as client:
        url = client.http.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
        body = json.dumps(CHAT.body()).encode()
        head = (
            f"POST {CHAT.path} HTTP/1.1\r\nhost: x\r\nx-api-key: {secret}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        (event,) = await events_of(books, secret, 1)
        assert event.status == "ok"
        assert "gateway_upstream_connections 0.0" in (await client.http.get("/metrics")).text
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
