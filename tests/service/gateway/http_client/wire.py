"""A provider made of bytes: a script has each connection, and keeps to no protocol that it does not
want to."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from tests.servers import HOST
from tests.support.sockets import accepting

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def answer(body: bytes, *headers: bytes) -> bytes:
    lines = [OK.rstrip(), b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


class Wire:
    """The provider's end of one connection; the first has the number 1."""

    def __init__(
        self, provider: "WireProvider", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = len(provider.wires) + 1
        self._provider = provider
        self._reader = reader
        self._writer = writer

    async def head(self) -> bytes:
        """Of the next request, as it was sent."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            self._provider.torn += error.partial
            raise
        self._provider.connections.append(self.number)
        return head

    async def request(self) -> bytes:
        """The next one, as it was sent."""
        head = await self.head()
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        request = head + await self._reader.readexactly(int(length or 0))
        self._provider.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def unsent(self) -> int:
        """Bytes that the system has not taken yet."""
        return self._writer.transport.get_write_buffer_size()

    async def rest(self) -> bytes:
        """All that comes until the client hangs up."""
        with suppress(ConnectionError):
            return await self._reader.read()
        return b""

    def reset(self) -> None:
        """As if the provider had died: the client is told, and what is on its way is lost."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()


Script = Callable[[Wire], Awaitable[None]]


class WireProvider:
    """`connections` are by number those that requests came on; `torn` is what was no request."""

    def __init__(self, scheme: str) -> None:
        self.port = 0
        self.scheme = scheme
        self.connections: list[int] = []
        self.requests: list[bytes] = []
        self.torn = b""
        self.wires: list[Wire] = []

    @property
    def address(self) -> str:
        return f"{self.scheme}://{HOST}:{self.port}/v1/chat"


@asynccontextmanager
async def serving(
    script: Script, *, tls: ssl.SSLContext | None = None, buffer_bytes: int | None = None
) -> AsyncIterator[WireProvider]:
    """Ends a connection with its script. `buffer_bytes` are taken of what no script has read."""
    provider = WireProvider("http" if tls is None else "https")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(provider, reader, writer)
        provider.wires.append(wire)
        await script(wire)

    async with accepting(connected, tls=tls, receive_buffer=buffer_bytes) as provider.port:
        yield provider


def always(data: bytes) -> Script:
    """Answers each request with this."""

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(data)

    return script


def on_first(first: Script) -> Script:
    """This on the first connection, and a good answer to each request on all others."""
    good = always(answer(b"good"))

    async def script(wire: Wire) -> None:
        await (first if wire.number == 1 else good)(wire)

    return script
