"""A provider made of raw sockets: it records what it is sent, and answers, or fails, as told."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

from tests.servers import HOST
from tests.support.sockets import accepting

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"


class UpstreamRequest(NamedTuple):
    """As it was on the wire; header names in lower case."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes
    method: str = "POST"

    @property
    def fields(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


class UpstreamConnection:
    """One request's side of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def answer(
        self, body: bytes, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        """A whole answer."""
        await self.begin(status, {"content-length": str(len(body)), **(headers or {})})
        await self.write(body)

    async def begin(self, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """A status line and headers; JSON unless they say otherwise."""
        fields = {"content-type": JSON, **(headers or {})}
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {fields[name]}" for name in fields)]
        await self.write("\r\n".join([*lines, "", ""]).encode())

    async def begin_stream(self, headers: dict[str, str] | None = None) -> None:
        """Headers of a chunked event stream."""
        chunked = {"content-type": EVENT_STREAM, "transfer-encoding": "chunked"}
        await self.begin(200, {**chunked, **(headers or {})})

    async def chunk(self, data: bytes) -> None:
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def end_stream(self) -> None:
        await self.write(b"0\r\n\r\n")

    async def stream(self, frames: Iterable[bytes], **kwargs: Any) -> None:
        """A whole event stream, one chunk for each frame."""
        await self.begin_stream(**kwargs)
        for frame in frames:
            await self.chunk(frame)
        await self.end_stream()

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def cut(self) -> None:
        """As if the provider had died."""
        self._writer.transport.abort()

    async def closed(self) -> None:
        """Returns when the gateway has hung up."""
        with suppress(ConnectionError):
            while await self._reader.read(1024):
                pass


Script = Callable[[UpstreamRequest, UpstreamConnection], Awaitable[None]]


class Upstream:
    """`script` answers each request; what came is in `requests`."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[UpstreamRequest] = []
        self.connections = 0
        self._script: Script | None = None

    def answers(self, body: bytes, **kwargs: Any) -> None:
        """From now on, with this."""

        async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
            await connection.answer(body, **kwargs)

        self.does(script)

    def streams(self, frames: Iterable[bytes]) -> None:
        """From now on, these frames."""
        all_frames = list(frames)

        async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
            await connection.stream(all_frames)

        self.does(script)

    def does(self, script: Script) -> None:
        """From now on, this, and as if nothing had been asked before."""
        self._script = script
        self.requests.clear()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Upstream"]:
        async with accepting(self._connected) as port:
            self.url = f"http://{HOST}:{port}"
            yield self

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while (request := await _read_request(reader)) is not None:
            self.requests.append(request)
            assert self._script is not None, "nothing is scripted"
            await self._script(request, UpstreamConnection(reader, writer))


async def _read_request(reader: asyncio.StreamReader) -> UpstreamRequest | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    request_line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = [line.partition(": ")[::2] for line in lines]
    headers = [(name.lower(), value) for name, value in pairs]
    body = await reader.readexactly(int(dict(headers).get("content-length", 0)))
    method, path, _ = request_line.split(" ")
    return UpstreamRequest(path, headers, body, method)
