"""Request heads are bounded in size, number and time, and so are connections without a request.

Over real sockets, since it is about bytes as they arrive.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from libs.common.errors import AppError
from libs.common.web.bounded_http import BOUNDS, Bounds
from libs.common.web.json import json_response
from tests.support.polling import PATIENCE_S
from tests.support.sockets import serving

START = b"GET /a?b HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
SHORT = msgspec.structs.replace(BOUNDS, head_timeout_s=0.2)
Change = Callable[[bytes], None]


def refuse(path: str, error: AppError) -> Response:
    return json_response({"path": path, "code": error.code}, status=error.status)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the number of header fields and the body; `/early` without reading it."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    body, more = b"", scope["path"] != "/early"
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await Response(b"%d %b" % (len(scope["headers"]), body))(scope, receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    for stage in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{stage}.complete"})


class Connection:
    """A client that says what it likes, and reads what comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """The status and the body of one answer."""
        status, _, body = await self.whole_answer()
        return status, body

    async def whole_answer(self) -> tuple[int, dict[str, str], bytes]:
        """Header names are in lower case."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            pairs = (line.partition(": ") for line in lines)
            headers = {name.lower(): value for name, _, value in pairs}
            body = await self.reader.readexactly(int(headers["content-length"]))
            return int(status.split()[1]), headers, body

    async def is_closed(self) -> bool:
        """Once the server has closed it, having sent nothing more."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


@asynccontextmanager
async def connecting(url: str) -> AsyncIterator[Connection]:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def connected(bounds: Bounds = BOUNDS, app: Any = echo) -> AsyncIterator[Connection]:
    async with serving(app, refuse=refuse, bounds=bounds) as url, connecting(url) as connection:
        yield connection


def head_of(size: int) -> bytes:
    """A head of so many bytes, its last line included."""
    filler = size - len(START) - len(b"a: \r\n\r\n")
    return START + b"a: " + b"x" * filler + b"\r\n\r\n"


async def test_a_head_at_the_bounds_is_served() -> None:
    fields = b"".join(b"a%d: 1\r\n" % n for n in range(BOUNDS.head_fields - 1))
    async with connected() as client:
        await client.send(head_of(BOUNDS.head_bytes))
        assert await client.answer() == (200, b"2 ")
        await client.send(START + fields + b"\r\n")
        assert await client.answer() == (200, b"200 ")


async def test_one_field_too_many_is_rejected() -> None:
    fields = b"".join(b"a%d: 1\r\n" % n for n in range(BOUNDS.head_fields))
    async with connected() as client:
        await client.send(START + fields + b"\r\n")
        status, body = await client.answer()
        assert (status, msgspec.json.decode(body)) == (
            431,
            {"path": "/a", "code": "request_head_too_large"},
        )
        assert await client.is_closed()


@pytest.mark.parametrize("piece", [1_000, 1_000_000])
async def test_one_byte_too_many_is_rejected(piece: int) -> None:
    head = head_of(BOUNDS.head_bytes + 1)
    async with connected() as client:
        for start in range(0, len(head), piece):
            await client.send(head[start : start + piece])
        assert (await client.answer())[0] == 431
        assert await client.is_closed()


async def test_an_endless_url_is_rejected() -> None:
    async with connected() as client:
        await client.send(b"GET /" + b"a" * BOUNDS.head_bytes)
        assert (await client.answer())[0] == 431
        assert await client.is_closed()


async def test_a_large_body_is_not_a_large_head() -> None:
    body = b"x" * (3 * BOUNDS.head_bytes)
    async with connected() as client:
        await client.send(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert await client.answer() == (200, b"1 " + body)
        await client.send(START + b"\r\n")
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize("framing", [b"1;a=" + b"x" * 150_000, b"0\r\na: " + b"x" * 150_000])
async def test_chunk_extensions_and_trailers_are_bounded(framing: bytes) -> None:
    """The extensions of a chunk, and the fields behind the last. What shares its piece with the
    head, or with a part of the body, is not counted."""
    async with connected() as client:
        await client.send(POST + b"1\r\nx\r\n")
        for start in range(0, len(framing), 10_000):
            await client.send(framing[start : start + 10_000])
        assert (await client.answer())[0] == 431
        assert await client.is_closed()


async def test_a_body_in_many_small_chunks_is_served() -> None:
    async with connected() as client:
        await client.send(POST)
        for _ in range(40):
            await client.send(b"1\r\nx\r\n" * 500)
        await client.send(b"0\r\na: b\r\n\r\n")
        status, body = await client.answer()
        assert (status, body.count(b"x")) == (200, 20_000)


async def test_the_head_does_not_reduce_the_bound_of_its_body() -> None:
    head = POST[:-2] + b"expect: 100-continue\r\na: " + b"x" * 60_000
    async with connected() as client:
        for start in range(0, len(head), 20_000):
            await client.send(head[start : start + 20_000])
        await client.send(b"\r\n\r\n")
        await client.reader.readuntil(b"100 Continue\r\n\r\n")
        await client.send(b"1;a=" + b"x" * 60_000 + b"\r\nx\r\n0\r\n\r\n")
        assert await client.answer() == (200, b"4 x")


@pytest.mark.parametrize("sent", [b"GET /a HTTP/1.1\r\nhos", b"\r\n"])
async def test_an_unfinished_head_times_out(sent: bytes) -> None:
    async with connected(SHORT) as client:
        await client.send(sent)
        assert (await client.answer())[0] == 408
        assert await client.is_closed()


async def test_a_silent_connection_times_out() -> None:
    async with connected(SHORT) as client:
        assert await client.is_closed()


async def test_the_next_head_has_its_own_deadline() -> None:
    async with connected(SHORT) as client:
        await client.send(START + b"\r\n")
        assert (await client.answer())[0] == 200
        await client.send(START)
        assert (await client.answer())[0] == 408
        assert await client.is_closed()


async def test_a_slow_trickle_is_cut_off_and_does_not_delay_others() -> None:
    async with serving(echo, refuse=refuse, bounds=SHORT) as url, connecting(url) as slow:

        async def trickle() -> None:
            for byte in START * 100:
                await slow.send(bytes([byte]))
                await asyncio.sleep(0.01)

        trickling = asyncio.create_task(trickle())
        try:
            assert (await slow.answer())[0] == 408
            async with connecting(url) as other:
                await other.send(START + b"\r\n")
                assert (await other.answer())[0] == 200
        finally:
            trickling.cancel()


async def test_a_long_call_is_not_ended_by_the_deadline() -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def patient(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        begun.set()
        await done.wait()
        await Response(b"late")(scope, receive, send)

    async with (
        serving(patient, refuse=refuse, bounds=SHORT) as url,
        connecting(url) as client,
    ):
        await client.send(START + b"\r\n")
        await begun.wait()
        await client.send(START)
        # The next request's head has begun, and its time is over before that of two others.
        for _ in range(2):
            async with connecting(url) as idle:
                assert await idle.is_closed()
        done.set()
        assert await client.answer() == (200, b"late")
        await client.send(b"a: b\r\n")
        assert (await client.answer())[0] == 408


async def test_an_early_answer_does_not_wait_for_the_body() -> None:
    async with connected(SHORT) as client:
        await client.send(b"POST /early HTTP/1.1\r\ncontent-length: 1000000\r\n\r\nx")
        assert (await client.answer())[0] == 200
        assert await client.is_closed()


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
@pytest.mark.parametrize("pieces", [1, 2])
async def test_an_upgrade_request_keeps_its_body(protocol: bytes, pieces: int) -> None:
    """Java's own client asks for HTTP/2 so. What it sends is a request nevertheless, and one."""
    head = START + b"connection: upgrade\r\nupgrade: " + protocol
    body = START + b"b: 2\r\n\r\n"
    head = head.replace(b"GET", b"POST") + b"\r\ncontent-length: %d\r\n" % len(body)
    async with connected() as client:
        if pieces == 2:
            await client.send(head + b"expect: 100-continue\r\n\r\n")
            await client.reader.readuntil(b"100 Continue\r\n\r\n")
            await client.send(body)
        else:
            await client.send(head + b"\r\n" + body)
        assert await client.answer() == (200, b"%d " % (3 + pieces) + body)
        await client.send(START + b"\r\n")
        assert await client.answer() == (200, b"1 ")


async def test_a_tunnel_is_refused() -> None:
    async with connected() as client:
        await client.send(b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\nmore")
        assert (await client.answer())[0] == 400
        assert await client.is_closed()


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"{}\r\n"])
async def test_non_http_bytes_are_rejected(garbage: bytes) -> None:
    async with connected() as client:
        await client.send(garbage)
        assert (await client.answer())[0] == 400
        assert await client.is_closed()


async def test_pipelined_requests_are_bounded() -> None:
    async with connected() as client:
        await client.send((START + b"\r\n") * (BOUNDS.max_pipelined + 1))
        for _ in range(BOUNDS.max_pipelined + 1):
            assert (await client.answer())[0] == 200
        await client.send((START + b"\r\n") * 1_000)
        assert await client.is_closed()


async def test_the_longest_idle_connection_makes_room() -> None:
    bounds = msgspec.structs.replace(BOUNDS, max_idle=2)
    async with (
        serving(echo, refuse=refuse, bounds=bounds) as url,
        connecting(url) as first,
        connecting(url) as second,
    ):
        for client in (first, second, first):
            await client.send(START + b"\r\n")
            assert (await client.answer())[0] == 200
        async with connecting(url):
            assert await second.is_closed()
            await first.send(START + b"\r\n")
            assert (await first.answer())[0] == 200
