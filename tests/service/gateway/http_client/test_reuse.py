"""Which connections serve another request, and that no answer reaches a request not its own."""

import asyncio
from contextlib import suppress

import aiohttp
import msgspec
import pytest

from services.gateway.upstream.http.client import UpstreamClient, UpstreamResponse
from services.gateway.upstream.http.connections import Connector
from tests.service.gateway.http_client.asking import PATIENT, answer_of, post, until, whole
from tests.service.gateway.http_client.wire import (
    CHUNKED,
    OK,
    Wire,
    always,
    answer,
    on_first,
    serving,
)

EVIL = answer(b"evil")
IMPATIENT = msgspec.structs.replace(PATIENT, first_byte_s=0.2)


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        pytest.param(answer(b"good"), b"good", id="with a length"),
        pytest.param(answer(b""), b"", id="empty"),
        pytest.param(CHUNKED + b"4\r\ngood\r\n0\r\n\r\n", b"good", id="chunked"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="without a body"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(b"good"), b"good", id="hinted"),
        pytest.param(b"HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\ngood", b"good", id="an error"),
    ],
)
async def test_a_complete_answer_releases_its_connection(
    client: UpstreamClient, sent: bytes, body: bytes
) -> None:
    async with serving(always(sent)) as provider:
        for _ in range(3):
            assert await answer_of(client, provider.address) == body

    assert provider.connections == [1, 1, 1]


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        pytest.param(answer(b"good"), b"good", id="with a length"),
        pytest.param(answer(b""), b"", id="empty"),
        pytest.param(CHUNKED + b"2\r\ngo\r\n2\r\nod\r\n0\r\n\r\n", b"good", id="chunked"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="without a body"),
    ],
)
async def test_an_answer_that_has_arrived_is_read_at_once(
    client: UpstreamClient, sent: bytes, body: bytes
) -> None:
    async with serving(always(sent)) as provider:
        for _ in range(2):
            response = await post(client, provider.address)
            await until(response._content.is_eof)
            assert response.arrived() == body
            assert response.arrived() is None, "it is read once"
            response.release()

    assert provider.connections == [1, 1]


@pytest.mark.parametrize(
    "sent", [CHUNKED + b"4\r\ngood\r\n", OK + b"Content-Length: 10\r\n\r\nhalf "]
)
async def test_an_answer_that_goes_on_has_not_arrived(client: UpstreamClient, sent: bytes) -> None:
    async with serving(always(sent)) as provider:
        response = await post(client, provider.address)
        await until(lambda: bool(response._content.total_bytes))
        assert response.arrived() is None
        response.close()


async def test_a_complete_answer_need_not_be_read(client: UpstreamClient) -> None:
    async with serving(always(answer(b"good"))) as provider:
        for _ in range(2):
            response = await post(client, provider.address)
            await until(response._content.is_eof)
            response.release()

    assert provider.connections == [1, 1]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(answer(b"good", b"Connection: close"), id="said so"),
        pytest.param(b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\ngood", id="old protocol"),
    ],
)
async def test_a_provider_that_wants_to_close(client: UpstreamClient, sent: bytes) -> None:
    """It is taken at its word, though it leaves the connection open."""
    async with serving(always(sent)) as provider:
        for _ in range(2):
            assert await answer_of(client, provider.address) == b"good"

    assert provider.connections == [1, 2]


@pytest.mark.parametrize("begun", [OK + b"Content-Length: 10\r\n\r\nhalf ", CHUNKED, OK + b"\r\n"])
@pytest.mark.parametrize("how", ["released", "closed", "released twice"])
async def test_an_abandoned_answer_closes_its_connection(
    client: UpstreamClient, begun: bytes, how: str
) -> None:
    gone = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(begun)
        await wire.rest()
        gone.set()

    async with serving(on_first(script)) as provider:
        response = await post(client, provider.address)
        (response.close if how == "closed" else response.release)()
        if how == "released twice":
            response.release()
        assert await answer_of(client, provider.address) == b"good"
        await asyncio.wait_for(gone.wait(), 10)

    assert provider.connections == [1, 2]


async def test_a_cancelled_request_closes_its_connection(client: UpstreamClient) -> None:
    gone = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.rest()
        gone.set()

    async with serving(on_first(script)) as provider:
        asking = asyncio.create_task(post(client, provider.address))
        await until(lambda: bool(provider.requests))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await answer_of(client, provider.address) == b"good"
        await asyncio.wait_for(gone.wait(), 10)

    assert provider.connections == [1, 2]


async def test_a_late_answer_is_dropped(client: UpstreamClient) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.rest()
        with suppress(ConnectionError):
            await wire.send(EVIL)

    async with serving(on_first(script)) as provider:
        with pytest.raises(TimeoutError):
            await post(client, provider.address, timeouts=IMPATIENT)
        assert await answer_of(client, provider.address) == b"good"

    assert provider.connections == [1, 2]


@pytest.mark.parametrize(
    "surplus",
    [
        pytest.param(EVIL, id="whole"),
        pytest.param(EVIL[:20], id="half a head"),
        pytest.param(EVIL[:-2], id="half a body"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="interim"),
        pytest.param(b"\r\n", id="a line break"),
        pytest.param(b"evil", id="no answer"),
    ],
)
async def test_unsolicited_bytes_are_dropped(
    client: UpstreamClient, connector: Connector, surplus: bytes
) -> None:
    """It comes while the connection waits for its next request, which then takes another one."""
    idle = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"first"))
        await idle.wait()
        await wire.send(surplus)
        await wire.request()
        await wire.send(EVIL)

    async with serving(on_first(script)) as provider:
        assert await answer_of(client, provider.address) == b"first"
        ((connection, _),) = next(iter(connector._conns.values()))
        assert connection.is_connected()
        idle.set()
        await until(lambda: not connection.is_connected())
        for _ in range(2):
            assert await answer_of(client, provider.address) == b"good"

    assert provider.connections == [1, 2, 2]


@pytest.mark.parametrize("surplus", [EVIL, EVIL[:-2], b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_bytes_after_an_answer_are_dropped(client: UpstreamClient, surplus: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"first") + surplus)
        await wire.request()
        await wire.send(EVIL)

    async with serving(on_first(script)) as provider:
        assert await answer_of(client, provider.address) == b"first"
        assert await answer_of(client, provider.address) == b"good"

    assert provider.connections == [1, 2]


async def test_bytes_between_an_answer_and_its_release_are_dropped(
    client: UpstreamClient, connector: Connector
) -> None:
    read = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"first"))
        await read.wait()
        await wire.send(EVIL)
        await wire.request()
        await wire.send(EVIL)

    async with serving(on_first(script)) as provider:
        response = await post(client, provider.address)
        assert await response.read() == b"first"
        read.set()
        (connection,) = connector._acquired
        await until(lambda: len(connection) > 0)
        assert await whole(response) == b""
        assert await answer_of(client, provider.address) == b"good"

    assert provider.connections == [1, 2]


async def test_bytes_sent_before_a_request_answer_no_call(
    client: UpstreamClient, connector: Connector
) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(EVIL)
        await wire.request()

    loop = asyncio.get_running_loop()
    async with serving(script) as provider:
        destination = client._destination(provider.address)
        connection = await connector.connect(destination.request, [], aiohttp.ClientTimeout())
        protocol = connection.protocol
        assert protocol is not None
        await until(lambda: bool(protocol._tail))
        response = UpstreamResponse(connection, loop, PATIENT, loop.time())
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await response.start(destination.head("POST", "", [], 0), b"")
        response.close()

    assert provider.torn == b""


async def test_a_connection_closed_by_the_provider_is_replaced(
    client: UpstreamClient, connector: Connector
) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"first"))

    async with serving(on_first(script)) as provider:
        assert await answer_of(client, provider.address) == b"first"
        ((connection, _),) = next(iter(connector._conns.values()))
        await until(lambda: not connection.is_connected())
        assert await answer_of(client, provider.address) == b"good"

    assert provider.connections == [1, 2]
