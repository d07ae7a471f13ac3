"""Answers as the client of providers tells of them, and what is none."""

import asyncio

import aiohttp
import pytest

from services.gateway.upstream.http.client import UpstreamClient
from tests.service.gateway.http_client.asking import answer_of, post, whole
from tests.service.gateway.http_client.wire import (
    CHUNKED,
    OK,
    Wire,
    always,
    answer,
    on_first,
    serving,
)

HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\ncontent-length: 4\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_the_head_is_parsed(client: UpstreamClient) -> None:
    """Headers keep their order, their case and their doubles."""
    head = b"HTTP/1.1 429 Whatever\r\nX-B: 2\r\nx-a:  1 \r\nx-b: \xff\r\nContent-Type: A/B; c=d\r\n"
    async with serving(always(head + b"content-length: 2\r\n\r\n{}")) as provider:
        response = await post(client, provider.address)
        assert await whole(response) == b"{}"

    assert response.status == 429
    assert response.raw_headers == (
        (b"X-B", b"2"),
        (b"x-a", b"1"),
        (b"x-b", b"\xff"),
        (b"Content-Type", b"A/B; c=d"),
        (b"content-length", b"2"),
    )
    assert response.headers.getall("x-b") == ["2", "\udcff"]
    assert response.media_type == "a/b"


@pytest.mark.parametrize("interim", [CONTINUE, HINTS, CONTINUE + HINTS + HINTS])
@pytest.mark.parametrize("at_once", [True, False])
async def test_interim_answers_are_skipped(
    client: UpstreamClient, interim: bytes, at_once: bool
) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        if at_once:
            await wire.send(interim + answer(b"good"))
        else:
            for byte in interim:
                await wire.send(bytes([byte]))
                await asyncio.sleep(0)
            await wire.send(answer(b"good"))
        await wire.rest()

    async with serving(script) as provider:
        assert await answer_of(client, provider.address) == b"good"


FAILURES = (aiohttp.ClientError, OSError)
FAULTS = {
    "another protocol": b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    "another protocol, unnamed": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a length that is none": OK + b"content-length: many\r\n\r\n",
    "two lengths": OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\ngo",
    "a NUL": OK + b"x: \x00\r\n\r\n",
    "a long line": OK + b"x: " + b"y" * 10_000 + b"\r\n\r\n",
    "many headers": OK + b"x: y\r\n" * 1_000 + b"\r\n",
    "more than its length": answer(b"good") + b"evil",
    "a chunk of no size": CHUNKED + b"zz\r\ngood\r\n",
    "a chunk of another size": CHUNKED + b"2\r\ngood\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("sent", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("at_once", [True, False])
async def test_invalid_answers_are_rejected(
    client: UpstreamClient, sent: bytes, at_once: bool
) -> None:
    """The provider leaves it at that, and does not close the connection."""

    async def script(wire: Wire) -> None:
        await wire.request()
        if at_once:
            await wire.send(sent)
        else:
            for start in range(0, len(sent), 64):
                await wire.send(sent[start : start + 64])
                await asyncio.sleep(0)
        await wire.rest()

    async with serving(on_first(script)) as provider:
        with pytest.raises(FAILURES):
            await answer_of(client, provider.address)
        assert await answer_of(client, provider.address) == b"good"

    assert provider.connections == [1, 2]


BREAKS = {
    "before the head": b"",
    "in the head": OK + b"content-le",
    "after an interim answer": CONTINUE,
    "before the body": OK + b"content-length: 10\r\n\r\n",
    "in the body": OK + b"content-length: 10\r\n\r\nhalf ",
    "before the chunks": CHUNKED,
    "in a chunk": CHUNKED + b"a\r\nhalf ",
    "between chunks": CHUNKED + b"5\r\nhalf \r\n",
    "before the last line": CHUNKED + b"5\r\nhalf \r\n0\r\n",
}


@pytest.mark.parametrize("sent", BREAKS.values(), ids=BREAKS)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_truncated_answer_is_rejected(
    client: UpstreamClient, sent: bytes, reset: bool
) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(sent)
        if reset:
            wire.reset()

    async with serving(on_first(script)) as provider:
        with pytest.raises(FAILURES):
            await answer_of(client, provider.address)
        assert await answer_of(client, provider.address) == b"good"
