"""Requests to providers and their answers, over the connections of aiohttp's pool.

aiohttp resolves, connects, verifies, tunnels through proxies, pools and parses. Its ClientSession
would also make objects of each request and answer, with cookies, redirects and traces, which costs
more than all of that: here, a request is bytes.
"""

import asyncio
from functools import lru_cache

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
# A larger body is sent piece by piece, since the loop has other calls to serve.
_MAX_WRITTEN_AT_ONCE = 1024 * 1024
_PIECE = 64 * 1024
_REPEATABLE = frozenset({"GET", "DELETE"})
_CONNECTION_LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL_STATUS = 200


class RequestTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How many seconds each part may take; the last two count from the beginning.

    `first_byte_s` is for that of the answer's body: some providers send its head at once.
    """

    connect_s: float
    between_bytes_s: float
    first_byte_s: float
    total_s: float


@lru_cache(maxsize=_MAX_ADDRESSES)
def _connecting(timeouts: RequestTimeouts) -> aiohttp.ClientTimeout:
    """To be let into the pool may take longer than to connect."""
    return aiohttp.ClientTimeout(
        connect=min(timeouts.first_byte_s, timeouts.total_s), sock_connect=timeouts.connect_s
    )


class UpstreamClient:
    """Sends requests. `connector` keeps the connections, and bounds how many there are."""

    def __init__(self, connector: Connector) -> None:
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
        timeouts: RequestTimeouts,
        *,
        resource: str = "",
    ) -> "UpstreamResponse":
        """The answer, whose head is there. `resource` follows the address, which has no query.

        Raises TimeoutError, or ClientError or OSError where no answer comes, and ValueError where
        a header would end its line. No redirect is followed. What may be repeated is, once, where
        its connection ended before the answer: a provider may close one that was kept at any
        moment.
        """
        destination, began = self._destination(address), self._loop.time()
        may_repeat = method in _REPEATABLE
        while True:
            connection = await self._connector.connect(
                destination.request, [], _connecting(timeouts)
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
            raise aiohttp.InvalidURL(address, f"it, or its proxy, is none: {error}") from error


class UpstreamResponse:
    """An answer: its head is there, its body comes. Whoever has it releases it at the end."""

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
    # As they came, in order.
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
        """When its time is over, by the event loop's clock."""
        return self._began + self._timeouts.total_s

    @property
    def media_type(self) -> str:
        return self.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()

    async def start(self, head: bytes, body: bytes) -> None:
        """Sends the request, and returns when the answer's head is there."""
        protocol = self._connection.protocol
        if protocol is None or protocol.transport is None or protocol.should_close:
            # It is lost, or brought an answer that nobody had asked for.
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(read_until_eof=True)
        if len(body) <= _MAX_WRITTEN_AT_ONCE:
            protocol.transport.write(head + body)
        else:
            # The answer need not wait for all of it: a refusal often does not.
            self._writing = self._loop.create_task(_write(protocol, head, body))
            self._writing.add_done_callback(_retrieved)
        try:
            message, content = await protocol.read()
            while message.code < _FIRST_FINAL_STATUS and message.code != _SWITCHING_PROTOCOLS:
                message, content = await protocol.read()
        except HttpProcessingError as error:
            raise aiohttp.ClientPayloadError("the provider does not speak HTTP") from error
        if message.code == _SWITCHING_PROTOCOLS:
            raise aiohttp.ClientPayloadError("the provider goes on in another protocol")
        self.status, self.headers = message.code, message.headers
        self.raw_headers = message.raw_headers
        self._content = content

    async def begin(self, within_s: float) -> bytes:
        """The body's first bytes, which `read` gives again; empty where they take longer.

        Raises as `read`.
        """
        if self._content.total_bytes or self._content.is_eof():
            self._first = await self.read()
        else:
            # To stop waiting loses nothing: bytes are taken once they are there.
            waiting = asyncio.timeout(within_s)
            try:
                async with waiting:
                    self._first = await self.read()
            except TimeoutError:
                if not waiting.expired():
                    raise
        return self._first or b""

    async def read(self) -> bytes:
        """The next bytes of the body, empty at its end. Raises as `UpstreamClient.request`."""
        if self._first is not None:
            chunk, self._first = self._first, None
            return chunk
        chunk = await self._content.readany()
        if not self._has_begun:
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
        """Nobody is going to read the rest."""
        self._timer.cancel()
        if self._writing is not None:
            self._writing.cancel()
        if self._connection.protocol is not None:
            # To close it alone would wait for a provider that no longer reads what was sent.
            self._connection.protocol.abort()
        self._connection.close()

    def _is_sent(self, protocol: Protocol) -> bool:
        """A provider may answer before it has read the request, and never read the rest."""
        if self._writing is not None and not self._writing.done():
            return False
        transport = protocol.transport
        return transport is not None and transport.get_write_buffer_size() == 0

    def _watch_the_rest(self) -> None:
        self._timer = self._loop.call_at(self.ends_at, self._expire)
        protocol = self._connection.protocol
        if protocol is not None:
            # It starts anew with whatever comes, and ends with the body.
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


def _retrieved(writing: "asyncio.Task[None]") -> None:
    """What went wrong is what reading the answer fails with, too."""
    if not writing.cancelled():
        writing.exception()
