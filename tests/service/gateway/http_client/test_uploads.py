"""Bodies that a provider does not take at once, or at all."""

import asyncio
import socket
from collections.abc import Callable

import aiohttp
import msgspec
import pytest
from aiohttp.client_proto import ResponseHandler

from services.gateway.upstream.http.client import UpstreamClient
from services.gateway.upstream.http.connections import Connector
from tests.service.gateway.http_client.asking import (
    GUARD_S,
    PATIENT,
    answer_of,
    post,
    until,
    whole,
)
from tests.service.gateway.http_client.wire import Wire, always, answer, on_first, serving

MIB = 1024 * 1024
# More than the buffers of two sockets take, one of them a small one.
LARGE = b"0123456789abcdef" * MIB
# The largest that is handed over as one.
MEDIUM = LARGE[:MIB]
REFUSAL = b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\ngood"
SMALL_BUFFER_BYTES = 4096
with_small_buffers = pytest.mark.usefixtures("small_buffers")


@pytest.fixture
def small_buffers(connector: Connector) -> None:
    """What the client's own system takes before the provider has."""

    def make(address: tuple[socket.AddressFamily, int, int, str, object]) -> socket.socket:
        new_socket = socket.socket(*address[:3])
        new_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
        return new_socket

    connector._socket_factory = make  # type: ignore[assignment]


def connection_of(connector: Connector) -> ResponseHandler:
    (connection,) = connector._acquired
    return connection


def sends(connector: Connector) -> Callable[[], bool]:
    """Whether a request is stuck on its way."""

    def stuck() -> bool:
        transports = [each.transport for each in connector._acquired if each.transport is not None]
        return any(transport.get_write_buffer_size() > 0 for transport in transports)

    return stuck


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, 3 * MIB + 17, len(LARGE)])
async def test_a_body_arrives_whole(client: UpstreamClient, size: int) -> None:
    async with serving(always(answer(b"good"))) as provider:
        for _ in range(2):
            assert await answer_of(client, provider.address, LARGE[:size]) == b"good"

    for request in provider.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.endswith(b"content-length: %d" % size)
        assert body == LARGE[:size]
    assert provider.connections == [1, 1]


@with_small_buffers
@pytest.mark.parametrize("body", [MEDIUM, LARGE], ids=["medium", "large"])
async def test_a_provider_that_refuses_without_reading(client: UpstreamClient, body: bytes) -> None:
    """Its answer is there at once; the connection, on which the rest would go, is done with."""
    done = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(REFUSAL)
        await done.wait()

    async with serving(on_first(script), buffer_bytes=SMALL_BUFFER_BYTES) as provider:
        response = await post(client, provider.address, body)
        assert response.status == 413
        assert await whole(response) == b"good"
        assert await answer_of(client, provider.address) == b"good"
        done.set()

    assert provider.connections == [1, 2]


@with_small_buffers
@pytest.mark.parametrize("body", [MEDIUM, LARGE], ids=["medium", "large"])
@pytest.mark.parametrize("how", ["refused", "timed out", "cancelled"])
async def test_an_abandoned_upload_closes_its_connection(
    client: UpstreamClient, connector: Connector, body: bytes, how: str
) -> None:
    """The connection is gone, though not all that was to be sent on it is."""
    done = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        if how == "refused":
            await wire.send(REFUSAL)
        await done.wait()

    first_byte_s = 0.2 if how == "timed out" else GUARD_S * 2
    timeouts = msgspec.structs.replace(PATIENT, first_byte_s=first_byte_s)
    async with serving(on_first(script), buffer_bytes=SMALL_BUFFER_BYTES) as provider:
        asking = asyncio.create_task(post(client, provider.address, body, timeouts))
        await until(sends(connector))
        closed = connection_of(connector).closed
        assert closed is not None
        if how == "refused":
            assert await whole(await asking) == b"good"
        elif how == "timed out":
            with pytest.raises(TimeoutError):
                await asking
        else:
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        await asyncio.wait_for(closed, GUARD_S)
        assert not connector._acquired
        assert await answer_of(client, provider.address) == b"good"
        done.set()


@with_small_buffers
@pytest.mark.parametrize("body", [MEDIUM, LARGE], ids=["medium", "large"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_provider_that_dies_during_the_upload(
    client: UpstreamClient, connector: Connector, body: bytes, reset: bool
) -> None:
    """One error, and none besides that nobody looks at."""
    sending = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await sending.wait()
        wire.reset() if reset else wire.close()

    async with serving(on_first(script), buffer_bytes=SMALL_BUFFER_BYTES) as provider:
        asking = asyncio.create_task(post(client, provider.address, body))
        await until(sends(connector))
        sending.set()
        with pytest.raises((aiohttp.ClientError, OSError)):
            await asyncio.wait_for(asking, GUARD_S)
        assert await answer_of(client, provider.address) == b"good"


async def test_a_provider_that_refuses_and_dies(client: UpstreamClient) -> None:
    """Its answer is as good as any; that the rest could not be sent is nobody's concern."""
    heard = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(REFUSAL)
        await heard.wait()
        wire.reset()

    async with serving(on_first(script), buffer_bytes=SMALL_BUFFER_BYTES) as provider:
        response = await post(client, provider.address, LARGE)
        assert response._writing is not None
        await until(response._content.is_eof)
        heard.set()
        await until(response._writing.done)
        assert await whole(response) == b"good"
        assert await answer_of(client, provider.address) == b"good"

    assert provider.connections == [1, 2]


async def test_an_answer_that_overtakes_its_request(client: UpstreamClient) -> None:
    """All that was written is sent, but more is about to be written."""
    async with serving(always(answer(b"good"))) as provider:
        response = await post(client, provider.address)
        response._writing = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
        assert await whole(response) == b"good"
        assert await answer_of(client, provider.address) == b"good"

    assert provider.connections == [1, 2]
