"""The pool of connections to providers: aiohttp's, and what it leaves open of broken answers."""

import asyncio
from errno import EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM
from functools import partial
from typing import Any, Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.http import HttpProcessingError

# Files, ports and memory, which clients can use up.
_OF_THIS_HOST = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL})


def is_unreachable(error: BaseException) -> bool:
    """Refused, no such host, no trust: and not that this host has run out of something."""
    return isinstance(error, aiohttp.ClientConnectorError) and error.errno not in _OF_THIS_HOST


class Connector(aiohttp.TCPConnector):
    """`limit` bounds how many connections there are."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit, keepalive_timeout=60, ttl_dns_cache=30)
        self._factory = cast("partial[ResponseHandler]", partial(Protocol, loop=self._loop))

    async def _create_connection(
        self, req: ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        """aiohttp says of a wait for the pool and of one for the provider only that it was long."""
        try:
            return await super()._create_connection(req, traces, timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("the provider took too long") from error


class Protocol(ResponseHandler):
    """A connection. Whoever reads an answer's body is told if the rest will not come.

    aiohttp tells only those who wait for an answer's head of bytes that are not HTTP, tells no
    reader that the connection was closed on this side, and takes a reset for the end of a body
    without length.
    """

    def expect_nothing(self) -> None:
        """Until the next request; whatever comes nevertheless must never be taken for its answer.

        The connection is closed then, and so the pool passes it over.
        """
        self._parser = cast("Any", _NOTHING)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        # aiohttp says with a value of its own that there is no cause.
        super().set_exception(exc, exc if exc_cause is None else exc_cause)
        if not isinstance(exc, asyncio.TimeoutError):
            exc = aiohttp.ClientPayloadError("the rest of the answer cannot be read")
        self._fail_body(exc)

    def connection_lost(self, exc: BaseException | None) -> None:
        if exc is not None:
            self._fail_body(aiohttp.ClientPayloadError("the connection was reset"))
        super().connection_lost(exc)

    def close(self) -> None:
        self._fail_body(aiohttp.ClientConnectionError("the connection was closed"))
        super().close()

    def abort(self) -> None:
        self._fail_body(aiohttp.ClientConnectionError("the connection was closed"))
        super().abort()

    def start_timeout(self) -> None:
        """Nothing can come while nobody reads; reading on starts the timeout by itself."""
        if not self._reading_paused:
            super().start_timeout()

    def _fail_body(self, error: BaseException) -> None:
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(error)


class _Nothing:
    """A parser of answers where none is due."""

    def feed_data(self, data: bytes) -> tuple[tuple[()], bool, bytes]:
        if data:
            raise HttpProcessingError(message="nobody had asked for an answer")
        return (), False, b""

    def feed_eof(self) -> None:
        """An end is what may come at any time."""


_NOTHING: Final = _Nothing()
