"""Bodies of answers: whole, broken, given up, compressed."""

import asyncio
import gzip
import zlib

import aiohttp
import pytest

from services.gateway.upstream.http.client import UpstreamClient
from tests.service.gateway.http_client.asking import GUARD_S, answer_of, post, until, whole
from tests.service.gateway.http_client.wire import (
    CHUNKED,
    OK,
    Wire,
    always,
    answer,
    on_first,
    serving,
)


async def test_an_answer_without_length_is_read_to_the_end_of_its_connection(
    client: UpstreamClient,
) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"\r\n")
        for part in range(100):
            await wire.send(b"%2d" % part)

    async with serving(script) as provider:
        body = await answer_of(client, provider.address)

    assert body == b"".join(b"%2d" % part for part in range(100))


async def test_a_reset_does_not_end_an_answer_without_length(client: UpstreamClient) -> None:
    read = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"\r\nhalf ")
        await read.wait()
        wire.reset()

    async with serving(script) as provider:
        response = await post(client, provider.address)
        assert await response.read() == b"half "
        read.set()
        with pytest.raises((aiohttp.ClientError, OSError)):
            await whole(response)


@pytest.mark.parametrize("fault", [b"zz\r\nevil\r\n", b"4\r\nevil!\r\n"])
@pytest.mark.parametrize("waiting", [True, False], ids=["reads", "reads later"])
async def test_an_invalid_chunk_in_mid_stream(
    client: UpstreamClient, fault: bytes, waiting: bool
) -> None:
    """Whoever reads is told at once, and not when the timeouts ends."""
    read = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + b"4\r\ngood\r\n")
        await read.wait()
        await wire.send(fault)
        await wire.rest()
        read.clear()

    async with serving(script) as provider:
        response = await post(client, provider.address)
        assert await response.read() == b"good"
        read.set()
        if not waiting:
            await until(lambda: response._content.exception() is not None)
        with pytest.raises(aiohttp.ClientError):
            await whole(response)


@pytest.mark.parametrize("end", ["close", "release"])
async def test_reading_a_released_answer_raises(client: UpstreamClient, end: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        await wire.rest()

    async with serving(script) as provider:
        response = await post(client, provider.address)
        reading = asyncio.create_task(response.read())
        await until(lambda: response._content._waiter is not None)
        getattr(response, end)()
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(reading, GUARD_S)


async def test_an_answer_in_many_pieces(client: UpstreamClient) -> None:
    parts = [b"%d," % part * (part % 7 + 1) for part in range(2_000)]

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        for part in parts:
            await wire.send(b"%x;ext=1\r\n%b\r\n" % (len(part), part))
        await wire.send(b"0\r\nx-trailer: 1\r\n\r\n")
        await wire.rest()

    async with serving(script) as provider:
        assert await answer_of(client, provider.address) == b"".join(parts)


@pytest.mark.parametrize(("encoding", "wbits"), [(b"gzip", 31), (b"deflate", 15)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_compressed_answer(
    client: UpstreamClient, encoding: bytes, wbits: int, chunked: bool
) -> None:
    """Also one that becomes far larger than what is kept in memory of an answer."""
    body = b"good " * 1_000_000
    packed = zlib.compress(body, wbits=wbits)
    sent = OK + b"content-encoding: %b\r\n" % encoding
    if chunked:
        sent += b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)
    else:
        sent += b"content-length: %d\r\n\r\n%b" % (len(packed), packed)

    async with serving(always(sent)) as provider:
        for _ in range(2):
            assert await answer_of(client, provider.address) == body

    assert provider.connections == [1, 1]


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        pytest.param(b"gzip", b"not compressed", id="other bytes"),
        pytest.param(b"gzip", gzip.compress(b"good " * 99)[:-8] + b"evil" * 2, id="a wrong sum"),
        pytest.param(b"deflate", zlib.compress(b"good " * 99)[:-9], id="cut short"),
    ],
)
async def test_an_answer_falsely_labelled_as_compressed(
    client: UpstreamClient, encoding: bytes, packed: bytes
) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(packed, b"content-encoding: " + encoding))
        await wire.rest()

    async with serving(on_first(script)) as provider:
        with pytest.raises(aiohttp.ClientError):
            await answer_of(client, provider.address)
        assert await answer_of(client, provider.address) == b"good"
