"""Sends requests to providers, over connections of aiohttp's pool.

aiohttp resolves, connects, verifies, tunnels through proxies, pools and parses. Its ClientSession
also makes objects of each request and answer, with cookies, redirects and traces, which costs more
than all of that. Here, a request is bytes.
"""

import asyncio
from collections.abc import Coroutine
from functools import lru_cache
from typing import Any

import aiohttp
import msgspec
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, StreamWriter
from multidict import CIMultiDictProxy

from services.gateway.calls.headers import Header
from services.gateway.upstream.http.connections import Connector, Protocol
from services.gateway.upstream.http.destination import Destination
from services.gateway.upstream.http.environment_proxies import proxy_for

_MAX_ADDRESSES = 1_000
# A larger body is sent in pieces, so that the event loop can serve other calls meanwhile.
_MAX_WRITTEN_AT_ONCE = 1024 * 1024
_PIECE = 64 * 1024
_REPEATABLE = frozenset({"GET", "DELETE"})
_CONNECTION_LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL_STATUS = 200


class RequestTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds for each part; the last two count from the start of the request.

    `first_byte_s` is for the first byte of the answer's body: some providers send the head at once.
    """

    connect_s: float
    between_bytes_s: float
    first_byte_s: float
    total_s: float


@lru_cache(maxsize=_MAX_ADDRESSES)
def _client_timeout(timeouts: RequestTimeouts) -> aiohttp.ClientTimeout:
    """Waiting for the pool may take longer than connecting."""
    return aiohttp.ClientTimeout(
        connect=min(timeouts.first_byte_s, timeouts.total_s), sock_connect=timeouts.connect_s
    )


class UpstreamClient:
    """Sends requests. `connector` keeps and bounds the connections."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._loop = asyncio.get_running_loop()
        # Parsing an address costs more than sending to it.
        self._destination = lru_cache(maxsize=_MAX_ADDRESSES)(self._parse)

    async def request(
        self,
        method: str,
        address: str,
        headers: list[Header],
        body: bytes,
        timeouts: RequestTimeouts,
        *,
        resource: str = "",
    ) -> "UpstreamResponse":
        """Returns once the answer's head is read. `resource` follows the address.

        Raises TimeoutError; ClientError or OSError without an answer; ValueError for a line break
        in a header. Redirects are not followed. A request that may be repeated is retried once if
        its connection ended before the answer, because a provider may close a kept connection at
        any time.
        """
        destination, began = self._destination(address), self._loop.time()
        may_repeat = method in _REPEATABLE
        while True:
            connection = await self._connector.connect(
                destination.request, [], _client_timeout(timeouts)
            )
            response = UpstreamResponse(connection, self._loop, timeouts, began)
            try:
                head = destination.head(method, resource, headers, len(body))
                await response.start(head, body)
            except BaseException as error:
                response.close()
                if not (may_repeat and isinstance(error, _CONNECTION_LOST)):
                    raise
                may_repeat = False
            else:
                return response

    def _parse(self, address: str) -> Destination:
        try:
            return Destination(address, proxy_for(address), self._loop)
        except ValueError as error:
            raise aiohttp.InvalidURL(
                address, f"the address or its proxy is invalid: {error}"
            ) from error


class UpstreamResponse:
    """An answer whose head is read. The caller must release it at the end."""

    __slots__ = (
        "_began",
        "_connection",
        "_content",
        "_first",
        "_has_begun",
        "_loop",
        "_timeouts",
        "_timer",
        "_writing",
        "headers",
        "raw_headers",
        "status",
    )

    status: int
    headers: CIMultiDictProxy[str]
    # In their order on the wire.
    raw_headers: tuple[Header, ...]

    def __init__(
        self,
        connection: Connection,
        loop: asyncio.AbstractEventLoop,
        timeouts: RequestTimeouts,
        began: float,
    ) -> None:
        self._connection = connection
        self._content: aiohttp.StreamReader = aiohttp.EMPTY_PAYLOAD
        self._has_begun = False
        self._first: bytes | None = None
        self._loop = loop
        self._timeouts = timeouts
        self._began = began
        self._timer = loop.call_at(
            began + min(timeouts.first_byte_s, timeouts.total_s), self._expire
        )
        self._writing: asyncio.Task[None] | None = None

    @property
    def ends_at(self) -> float:
        """The deadline of the answer, by the event loop's clock."""
        return self._began + self._timeouts.total_s

    @property
    def media_type(self) -> str:
        return self.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()

    async def start(self, head: bytes, body: bytes) -> None:
        """Sends the request, and returns once the answer's head is read."""
        protocol = self._connection.protocol
        if protocol is None or protocol.transport is None or protocol.should_close:
            # The connection is closed, or received bytes before the request.
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(read_until_eof=True)
        if len(body) <= _MAX_WRITTEN_AT_ONCE:
            protocol.transport.write(head + body)
        else:
            # The answer can come before the whole body is sent, as a rejection often does.
            self._writing = self._loop.create_task(_write(protocol, head, body))
            self._writing.add_done_callback(_retrieve_error)
        try:
            message, content = await protocol.read()
            while message.code < _FIRST_FINAL_STATUS and message.code != _SWITCHING_PROTOCOLS:
                message, content = await protocol.read()
        except HttpProcessingError as error:
            raise aiohttp.ClientPayloadError("the provider's answer is not HTTP") from error
        if message.code == _SWITCHING_PROTOCOLS:
            raise aiohttp.ClientPayloadError("the provider switched to another protocol")
        self.status, self.headers = message.code, message.headers
        self.raw_headers = message.raw_headers
        self._content = content

    async def begin(self, within_s: float) -> bytes:
        """The body's first bytes, which `read` returns again; empty if they take longer.

        Raises as `read`.
        """
        if self._content.total_bytes or self._content.is_eof():
            self._first = await self.read()
        else:
            # Cancelling the wait loses no bytes.
            timeout = asyncio.timeout(within_s)
            try:
                async with timeout:
                    self._first = await self.read()
            except TimeoutError:
                if not timeout.expired():
                    raise
        return self._first or b""

    def arrived(self) -> bytes | None:
        """The whole body if it came with the head, as small ones do; else read it."""
        content = self._content
        if self._has_begun or not content.is_eof() or content.exception() is not None:
            return None
        self._has_begun = True
        self._timer.cancel()
        return content.read_nowait()

    def read(self) -> Coroutine[Any, Any, bytes]:
        """The next bytes of the body, empty at its end. Raises as `UpstreamClient.request`."""
        if self._has_begun and self._first is None:
            return self._content.readany()
        return self._read_first()

    async def _read_first(self) -> bytes:
        if self._first is not None:
            chunk, self._first = self._first, None
            return chunk
        chunk = await self._content.readany()
        self._has_begun = True
        self._timer.cancel()
        if not self._content.is_eof():
            self._watch_the_rest()
        return chunk

    def release(self) -> None:
        """Keeps the connection if the answer has come to its end, and closes it otherwise."""
        protocol = self._connection.protocol
        if isinstance(protocol, Protocol) and self._content.is_eof() and self._is_sent(protocol):
            self._timer.cancel()
            protocol.expect_nothing()
            self._connection.release()
        else:
            self.close()

    def close(self) -> None:
        """Drops the rest of the answer."""
        self._timer.cancel()
        if self._writing is not None:
            self._writing.cancel()
        if self._connection.protocol is not None:
            # `close` alone would wait for a provider that no longer reads the request.
            self._connection.protocol.abort()
        self._connection.close()

    def _is_sent(self, protocol: Protocol) -> bool:
        """False if the provider answered before it read the whole request."""
        if self._writing is not None and not self._writing.done():
            return False
        transport = protocol.transport
        return transport is not None and transport.get_write_buffer_size() == 0

    def _watch_the_rest(self) -> None:
        self._timer = self._loop.call_at(self.ends_at, self._expire)
        protocol = self._connection.protocol
        if protocol is not None:
            # aiohttp restarts this timeout with each read, and stops it with the body.
            protocol.read_timeout = self._timeouts.between_bytes_s
            protocol.start_timeout()

    def _expire(self) -> None:
        if self._connection.protocol is not None:
            error = aiohttp.SocketTimeoutError("the answer took too long")
            self._connection.protocol.set_exception(error)


async def _write(protocol: ResponseHandler, head: bytes, body: bytes) -> None:
    writer = StreamWriter(protocol, asyncio.get_running_loop())
    await writer.write(head)
    rest = memoryview(body)
    while rest:
        await writer.write(rest[:_PIECE])
        rest = rest[_PIECE:]


def _retrieve_error(writing: "asyncio.Task[None]") -> None:
    """Retrieves the task's error, since reading the answer raises it too."""
    if not writing.cancelled():
        writing.exception()
