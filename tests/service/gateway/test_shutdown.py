"""The process ends: streams are finished, and no event is lost, however short the time."""

import asyncio
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from libs.common.schemas.usage import UsageEvent
from services.gateway.app import create_app
from services.gateway.calls.attempts import Attempts
from services.gateway.calls.target import Plan
from services.gateway.settings import Settings
from services.gateway.upstream.answer import EVENT_STREAM_HEADERS, Stream
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, TOKENS, Dialect
from tests.service.gateway.process import gateway_process
from tests.service.gateway.stage import (
    Announcing,
    Client,
    StateFactory,
    bearer,
    connected,
    with_parts,
)
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books
from tests.support.polling import PATIENCE_S, eventually
from tests.support.sockets import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Pausing:
    """A provider that streams all but its last frame, and the rest once it is told."""

    def __init__(self, upstream: Upstream, dialect: Dialect) -> None:
        self.go_on = asyncio.Event()
        self._dialect = dialect
        upstream.does(self._script)

    async def _script(self, _request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.begin_stream()
        for frame in self._dialect.frames[:-1]:
            await connection.chunk(frame)
        await self.go_on.wait()
        await connection.chunk(self._dialect.frames[-1])
        await connection.end_stream()


@asynccontextmanager
async def reading(
    gateway: Client, dialect: Dialect, secret: str
) -> AsyncIterator[AsyncGenerator[bytes, None]]:
    """A stream of which all but the last frame has been read."""
    async with gateway.http.stream(
        "POST", dialect.path, json=dialect.body(stream=True), headers=bearer(secret)
    ) as response:
        parts = response.aiter_raw()
        received = b""
        while len(received) < len(b"".join(dialect.frames[:-1])):
            received += await anext(parts)
        yield parts


async def stop_in_mid_stream(
    settings: Settings, dialect: Dialect, secret: str, state_factory: StateFactory | None = None
) -> None:
    """Stops a gateway at once, with a client that still reads."""
    app = create_app(settings, *([] if state_factory is None else [state_factory]))
    async with AsyncExitStack() as server:
        url = await server.enter_async_context(serving(app, grace_s=0))
        async with connected(url) as gateway, reading(gateway, dialect, secret) as parts:
            await server.aclose()
            with pytest.raises(httpx2.RemoteProtocolError):
                await anext(parts)


def check_stopped(event: UsageEvent) -> None:
    """Its usage is what came until then."""
    assert (event.status, event.http_status) == ("upstream_error", 503)
    assert event.error_code == "gateway_stopped"
    assert event.usage is not None
    assert event.usage.input_text is not None


async def test_a_call_out_of_time_submits_its_event(
    upstream: Upstream, books: Books, settings_with: SettingsWith, dialect: Dialect
) -> None:
    Pausing(upstream, dialect)
    secret = await books.add_key()

    await stop_in_mid_stream(settings_with(), dialect, secret)

    check_stopped(await books.the_event(secret))
    assert await books.held(secret) > 0


class SlowToClose:
    """A dispatcher with a stream that never ends, and that takes its time to be closed."""

    async def send(
        self, _call: Any, _request: Any, plan: Plan, _headers: Any, attempts: Attempts
    ) -> Stream:
        attempts.target = plan.targets[0]
        attempts.count += 1
        return Stream(headers=EVENT_STREAM_HEADERS, chunks=self._chunks(), close=self._close)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        yield b"".join(CHAT.frames[:-1])
        await asyncio.Event().wait()

    async def _close(self) -> None:
        for _ in range(100):
            await asyncio.sleep(0)


async def test_a_slow_cleanup_is_awaited(books: Books, settings_with: SettingsWith) -> None:
    secret = await books.add_key()
    factory = with_parts(lambda *_: {"dispatcher": SlowToClose()})

    await stop_in_mid_stream(settings_with(), CHAT, secret, factory)

    check_stopped(await books.the_event(secret))


async def test_a_call_never_sends_a_second_event(
    upstream: Upstream, books: Books, settings_with: SettingsWith
) -> None:
    provider = Pausing(upstream, CHAT)
    secret = await books.add_key()
    committing = asyncio.Event()
    factory = with_parts(lambda gateway, *_: {"meter": Announcing(gateway.meter, committing)})
    app = create_app(settings_with(), factory)

    async with AsyncExitStack() as server:
        url = await server.enter_async_context(serving(app, grace_s=0))
        async with connected(url) as gateway, reading(gateway, CHAT, secret) as parts:
            # Redis answers nobody for a while, so that the write is still under way at the end.
            await books.redis.client_pause(700)
            provider.go_on.set()
            await asyncio.wait_for(committing.wait(), PATIENCE_S)
            await server.aclose()
            with pytest.raises(httpx2.RemoteProtocolError):
                await anext(parts)

    event = await books.the_event(secret)
    assert (event.status, event.usage, event.usage_source) == ("ok", TOKENS, "provider")


async def is_refusing(client: Client) -> bool:
    """New connections, that is: the process has begun to stop."""
    url = client.http.base_url
    try:
        _, writer = await asyncio.open_connection(url.host, url.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return False


async def test_a_stopping_process_finishes_its_streams(
    upstream: Upstream, books: Books, settings_with: SettingsWith, tmp_path: Path
) -> None:
    provider = Pausing(upstream, CHAT)
    secret = await books.add_key()
    log = tmp_path / "log"

    async with (
        gateway_process(settings_with(), log) as (process, client),
        reading(client, CHAT, secret) as parts,
    ):
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: is_refusing(client))
        provider.go_on.set()

        assert b"".join([part async for part in parts]) == CHAT.frames[-1]
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0, f"see {log}"

    event = await books.the_event(secret)
    assert (event.status, event.usage) == ("ok", TOKENS)
    assert b'"level": "error"' not in log.read_bytes()


async def test_a_process_out_of_time_still_records_its_streams(
    upstream: Upstream, books: Books, settings_with: SettingsWith, tmp_path: Path
) -> None:
    Pausing(upstream, CHAT)
    secret = await books.add_key()
    log = tmp_path / "log"
    settings = settings_with(shutdown_grace_s=1)

    async with (
        gateway_process(settings, log) as (process, client),
        reading(client, CHAT, secret) as parts,
    ):
        process.send_signal(signal.SIGTERM)
        with pytest.raises(httpx2.RemoteProtocolError):
            await anext(parts)
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0, f"see {log}"

    check_stopped(await books.the_event(secret))
