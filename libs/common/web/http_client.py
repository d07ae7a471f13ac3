"""A client for small, rare calls to one HTTP server: each call opens a connection."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import unquote_to_bytes, urlsplit

import h11
import msgspec

_MAX_ANSWER_BYTES = 1024 * 1024
_READ_BYTES = 65_536
_DEFAULT_PORTS = {"http": 80, "https": 443}


class HttpUnreachable(Exception):
    """The server could not be reached, or its answer could not be read."""


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Header names are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class HttpClient:
    """`name` begins error messages; `setting` is the environment variable of the URL.

    A `user:password@` in the URL is sent as basic authorization. `addresses` are asked, in order
    until one can be reached, in place of those of the URL's host. Redirects are not followed. Who
    makes many clients gives them one `tls`, which takes long to make.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        setting: str,
        timeout_s: float,
        addresses: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._name = name
        self._setting = setting
        self._timeout_s = timeout_s
        parts = urlsplit(url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._host = parts.hostname or ""
        self._addresses = addresses or (self._host,)
        self._port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self._tls = None
        if parts.scheme == "https":
            self._tls = tls or ssl.create_default_context()
        credentials, _, authority = parts.netloc.rpartition("@")
        self._headers = [(b"host", authority.encode())]
        if credentials:
            encoded = b64encode(unquote_to_bytes(credentials))
            self._headers.append((b"authorization", b"Basic " + encoded))
        self._prefix = parts.path.rstrip("/")

    async def get(self, path: str = "") -> HttpAnswer:
        """Of a path below the URL, or of the URL itself. Raises HttpUnreachable."""
        target = self._prefix + path if path else self._target
        return await self._exchange("GET", target, [(b"accept", b"application/json")], b"")

    async def post(
        self,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        *,
        content_type: bytes = b"application/json",
    ) -> HttpAnswer:
        """Sends to a path below the URL, or to the URL itself. Raises HttpUnreachable."""
        target = self._prefix + path if path else self._target
        body_headers = (b"content-type", content_type), (b"content-length", b"%d" % len(body))
        return await self._exchange("POST", target, [*body_headers, *headers], body)

    async def _exchange(
        self, method: str, target: str, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> HttpAnswer:
        request = h11.Request(
            method=method,
            target=target,
            headers=[*self._headers, (b"connection", b"close"), *headers],
        )
        try:
            async with asyncio.timeout(self._timeout_s), self._connected() as (reader, writer):
                connection = h11.Connection(h11.CLIENT)
                for event in (request, h11.Data(data=body), h11.EndOfMessage()):
                    writer.write(connection.send(event) or b"")
                await writer.drain()
                return await _read_answer(connection, reader)
        except TimeoutError:
            message = f"{self._name} did not answer within {self._timeout_s:g} s."
            raise HttpUnreachable(message) from None
        except (OSError, h11.ProtocolError) as error:
            name = type(error).__name__
            message = f"{self._name} cannot be reached ({name}): check {self._setting}."
            raise HttpUnreachable(message) from error

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await self._connect()
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises OSError, that of the last address."""
        *others, last = self._addresses
        for address in others:
            with suppress(OSError):
                return await self._open(address)
        return await self._open(last)

    async def _open(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # The certificate is that of the host, whichever address is asked.
        name = None if self._tls is None else self._host
        return await asyncio.open_connection(
            address, self._port, ssl=self._tls, server_hostname=name
        )


async def _read_answer(connection: h11.Connection, reader: asyncio.StreamReader) -> HttpAnswer:
    response: h11.Response | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_ANSWER_BYTES:
                raise HttpUnreachable("The answer is too large.")
        elif isinstance(event, h11.EndOfMessage) and response is not None:
            return HttpAnswer(
                status=response.status_code, headers=dict(response.headers), body=bytes(body)
            )
        elif isinstance(event, h11.ConnectionClosed):
            raise HttpUnreachable("The connection was closed before there was an answer.")
