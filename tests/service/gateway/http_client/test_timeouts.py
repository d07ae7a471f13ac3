"""How long the client of providers waits, and how much it keeps of an answer nobody reads."""

import asyncio
import socket
import zlib

import aiohttp
import msgspec
import pytest
from aiohttp.client_proto import ResponseHandler

from services.gateway.upstream.http.client import RequestTimeouts, UpstreamClient
from services.gateway.upstream.http.connections import Connector
from tests.servers import HOST
from tests.service.gateway.http_client.asking import PATIENT, answer_of, post, until, whole
from tests.service.gateway.http_client.wire import (
    CHUNKED,
    OK,
    Wire,
    on_first,
    serving,
)

SHORT_S = 0.2


def timeouts(**seconds: float) -> RequestTimeouts:
    return msgspec.structs.replace(PATIENT, **seconds)


def is_hurried(connection: ResponseHandler) -> bool:
    """Whether its next byte is waited for."""
    return connection._read_timeout_handle is not None


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(OK + b"content-", id="half a head"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="an interim answer"),
        pytest.param(CHUNKED, id="a head"),
        pytest.param(CHUNKED + b"4\r\n", id="the size of a chunk"),
    ],
)
@pytest.mark.parametrize("part", ["first_byte_s", "total_s"])
async def test_the_first_byte_times_out(client: UpstreamClient, sent: bytes, part: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(sent)
        await wire.rest()

    async with serving(on_first(script)) as provider:
        with pytest.raises(TimeoutError):
            await answer_of(client, provider.address, timeouts=timeouts(**{part: SHORT_S}))
        assert await answer_of(client, provider.address) == b"good"

    assert provider.connections == [1, 2]


async def test_the_next_byte_times_out(client: UpstreamClient) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + b"4\r\ngood\r\n")
        await wire.rest()

    async with serving(on_first(script)) as provider:
        response = await post(client, provider.address, timeouts=timeouts(between_bytes_s=SHORT_S))
        assert await response.read() == b"good"
        with pytest.raises(TimeoutError):
            await whole(response)
        assert await answer_of(client, provider.address) == b"good"

    assert provider.connections == [1, 2]


async def test_an_answer_can_outlast_the_timeouts_of_its_parts(
    client: UpstreamClient,
) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        for _ in range(12):
            await wire.send(b"4\r\ngood\r\n")
            await asyncio.sleep(0.05)
        await wire.send(b"0\r\n\r\n")
        await wire.rest()

    brief = timeouts(first_byte_s=0.5)
    async with serving(script) as provider:
        assert await answer_of(client, provider.address, timeouts=brief) == b"good" * 12


async def test_an_endless_answer_times_out(client: UpstreamClient) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        while True:
            await wire.send(b"4\r\ngood\r\n")
            await asyncio.sleep(SHORT_S / 20)

    async with serving(on_first(script)) as provider:
        with pytest.raises(TimeoutError):
            await answer_of(client, provider.address, timeouts=timeouts(total_s=SHORT_S))
        assert await answer_of(client, provider.address) == b"good"


async def test_a_finished_answer_leaves_no_timer(
    client: UpstreamClient, connector: Connector
) -> None:
    """Its connection is another answer's by then."""
    read = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + b"4\r\ngood\r\n")
        await read.wait()
        await wire.send(b"0\r\n\r\n")
        await wire.rest()

    async with serving(script) as provider:
        response = await post(client, provider.address)
        assert await response.read() == b"good"
        (connection,) = connector._acquired
        assert is_hurried(connection)
        read.set()
        assert await whole(response) == b""
        assert not is_hurried(connection)
        assert response._timer.cancelled()


async def test_the_connect_times_out(client: UpstreamClient) -> None:
    with socket.socket() as deaf:
        deaf.bind((HOST, 0))
        deaf.listen(0)
        address = "http://{}:{}/v1".format(*deaf.getsockname())
        waiting = [socket.socket() for _ in range(8)]
        try:
            for each in waiting:
                # As many as its queue holds, and some more.
                each.setblocking(False)
                each.connect_ex(deaf.getsockname())
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await post(client, address, timeouts=timeouts(connect_s=SHORT_S))
        finally:
            for each in waiting:
                each.close()


@pytest.mark.parametrize("part", ["first_byte_s", "total_s"])
async def test_the_wait_for_a_connection_times_out(connector: Connector, part: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + b"4\r\ngood\r\n")
        await wire.rest()

    connector._limit = 1
    client = UpstreamClient(connector)
    async with serving(on_first(script)) as provider:
        response = await post(client, provider.address)
        with pytest.raises(TimeoutError) as late:
            await post(client, provider.address, timeouts=timeouts(**{part: SHORT_S}))
        # The pool may be full of other clients' calls, which says nothing of the provider.
        assert not isinstance(late.value, aiohttp.ConnectionTimeoutError)
        assert provider.connections == [1]
        waiting = asyncio.create_task(answer_of(client, provider.address))
        await until(lambda: bool(connector._waiters))
        response.release()
        assert await waiting == b"good"

    assert provider.connections == [1, 2]


async def test_unread_bytes_exert_backpressure(
    client: UpstreamClient, connector: Connector
) -> None:
    """The provider has to wait; the client's memory and its system's hold little of the answer."""
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.request()
        await wire.send(CHUNKED)
        part = bytes(64 * 1024)
        while sent < 200 * 1024 * 1024:
            await wire.send(b"%x\r\n%b\r\n" % (len(part), part))
            sent += len(part)

    async with serving(script) as provider:
        response = await post(client, provider.address)
        assert await response.read()
        (connection,) = connector._acquired
        await until(lambda: connection._reading_paused)
        size = response._content._size
        # The provider's system takes no more, either.
        await until(lambda: provider.wires[0].unsent() > 0)
        assert response._content._size == size < 2 * 1024 * 1024
        assert sent < 100 * 1024 * 1024
        # It is not the provider's fault.
        assert not is_hurried(connection)
        for _ in range(10):
            assert await response.read()
        response.close()


async def test_slow_reading_does_not_time_the_provider_out(
    client: UpstreamClient, connector: Connector
) -> None:
    """Here what came at once becomes more than is kept in memory, from the first read on."""
    packed = zlib.compress(bytes(20 * 1024 * 1024))

    async def script(wire: Wire) -> None:
        await wire.request()
        length = b"content-length: %d\r\n" % len(packed)
        await wire.send(OK + b"content-encoding: deflate\r\n" + length + b"\r\n" + packed)
        await wire.rest()

    async with serving(script) as provider:
        response = await post(client, provider.address)
        size = len(await response.read())
        (connection,) = connector._acquired
        assert connection._reading_paused
        assert not is_hurried(connection)
        size += len(await whole(response))

    assert size == 20 * 1024 * 1024
