"""Requests to providers and their answers, over the connections of aiohttp's pool.

aiohttp resolves, connects, verifies, tunnels through proxies, pools and parses. Its ClientSession
would also make objects of each request and answer, with cookies, redirects and traces, which costs
more than all of that: here, a request is bytes.
"""

import asyncio
from functools import lru_cache
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage, StreamWriter
from multidict import CIMultiDictProxy
from yarl import URL

from services.gateway.upstream.answer import Header
from services.gateway.upstream.proxies import proxy_for

_MAX_ADDRESSES = 1_000
# A larger body is sent piece by piece, since the loop has other calls to serve.
_MAX_WRITTEN_AT_ONCE = 1024 * 1024
_PIECE = 64 * 1024
_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL_STATUS = 200


class HttpClient:
    """Sends requests. `connector` keeps the connections, and bounds how many there are."""

    def __init__(self, connector: aiohttp.BaseConnector) -> None:
        self._connector = connector
        self._loop = asyncio.get_running_loop()
        # To parse an address costs more than to send to it.
        self._destination = lru_cache(maxsize=_MAX_ADDRESSES)(self._parse)

    async def request(
        self,
        method: str,
        address: str,
        headers: list[Header],
        body: bytes,
        timeout: aiohttp.ClientTimeout,
        *,
        resource: str = "",
    ) -> "Response":
        """The answer, whose head is there. `resource` follows the address, which has no query.

        Raises TimeoutError, or ClientError or OSError where no answer comes. No redirect is
        followed, and nothing is sent twice.
        """
        until = None if timeout.total is None else self._loop.time() + timeout.total
        destination = self._destination(address)
        connection = await self._connector.connect(destination.request, [], timeout)
        response = Response(connection, self._loop, until)
        try:
            head = destination.head(method, resource, headers, len(body))
            await response.start(head, body, timeout.sock_read)
        except BaseException:
            response.close()
            raise
        return response

    def _parse(self, address: str) -> "_Destination":
        return _Destination(URL(address, encoded=True), proxy_for(address), self._loop)


class _Destination:
    """An address, and how it is reached."""

    def __init__(self, url: URL, proxy: str | None, loop: asyncio.AbstractEventLoop) -> None:
        # What the pool asks for its connections' sake; it is never sent.
        self.request = ClientRequest(
            "POST", url, loop=loop, proxy=None if proxy is None else URL(proxy)
        )
        self._is_forwarded = proxy is not None and not self.request.is_ssl()
        self._target = str(url) if self._is_forwarded else url.raw_path
        self._host = self.request.headers[hdrs.HOST].encode()

    def head(self, method: str, resource: str, headers: list[Header], body_bytes: int) -> bytes:
        """Raises ValueError where one of them would end its line."""
        lines = [
            f"{method} {self._target}{resource} HTTP/1.1".encode("latin-1"),
            b"host: " + self._host,
            b"content-length: %d" % body_bytes,
            *[b"%b: %b" % header for header in headers],
        ]
        if self._is_forwarded:
            # The pool finds out what the proxy wants to be told.
            credentials = self.request.headers.get(hdrs.PROXY_AUTHORIZATION)
            if credentials is not None:
                lines.append(f"proxy-authorization: {credentials}".encode())
        head = b"\r\n".join(lines)
        if head.count(b"\n") >= len(lines) or head.count(b"\r") >= len(lines):
            raise ValueError("a header, or the address, of a request holds a line break")
        return head + b"\r\n\r\n"


class Response:
    """An answer: its head is there, its body comes. As a context it is released at the end."""

    __slots__ = ("_connection", "_deadline", "_message", "_writing", "content")

    _message: RawResponseMessage

    def __init__(
        self, connection: Connection, loop: asyncio.AbstractEventLoop, until: float | None
    ) -> None:
        self.content: aiohttp.StreamReader = aiohttp.EMPTY_PAYLOAD
        self._connection = connection
        self._deadline = None if until is None else loop.call_at(until, self._expire)
        self._writing: asyncio.Task[None] | None = None

    @property
    def status(self) -> int:
        return self._message.code

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        return self._message.headers

    @property
    def media_type(self) -> str:
        return self.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()

    @property
    def raw_headers(self) -> tuple[Header, ...]:
        """As they came, in order."""
        return self._message.raw_headers

    async def start(self, head: bytes, body: bytes, read_timeout_s: float | None) -> None:
        """Sends the request, and returns when the answer's head is there."""
        protocol = self._connection.protocol
        if protocol is None or protocol.transport is None or len(protocol):
            # It is lost, or brought an answer that nobody had asked for.
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(read_until_eof=True, read_timeout=read_timeout_s)
        if len(body) <= _MAX_WRITTEN_AT_ONCE:
            protocol.transport.write(head + body)
            protocol.start_timeout()
        else:
            # The answer need not wait for all of it: a refusal often does not.
            self._writing = asyncio.create_task(_write(protocol, head, body))
            self._writing.add_done_callback(_retrieved)
        try:
            message, content = await protocol.read()
            while message.code < _FIRST_FINAL_STATUS and message.code != _SWITCHING_PROTOCOLS:
                message, content = await protocol.read()
        except HttpProcessingError as error:
            raise aiohttp.ClientPayloadError("the provider does not speak HTTP") from error
        if message.code == _SWITCHING_PROTOCOLS:
            raise aiohttp.ClientPayloadError("the provider goes on in another protocol")
        self._message, self.content = message, content

    def release(self) -> None:
        """Keeps the connection if the answer was read to its end, and closes it otherwise."""
        if self._writing is not None and not self._writing.done():
            self.close()
            return
        self._cancel_deadline()
        self._connection.release()

    def close(self) -> None:
        """Nobody is going to read the rest."""
        self._cancel_deadline()
        if self._writing is not None:
            self._writing.cancel()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _expire(self) -> None:
        """The time of the whole exchange is over, wherever it stands."""
        error = aiohttp.SocketTimeoutError("the answer took too long in all")
        if self._connection.protocol is not None:
            self._connection.protocol.set_exception(error)
        self.content.set_exception(error)


async def _write(protocol: ResponseHandler, head: bytes, body: bytes) -> None:
    writer = StreamWriter(protocol, asyncio.get_running_loop())
    await writer.write(head)
    rest = memoryview(body)
    while rest:
        await writer.write(rest[:_PIECE])
        rest = rest[_PIECE:]
    protocol.start_timeout()


def _retrieved(writing: "asyncio.Task[None]") -> None:
    """What went wrong is what reading the answer fails with, too."""
    if not writing.cancelled():
        writing.exception()
