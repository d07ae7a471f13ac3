"""aiohttp's pool of connections, with the end of broken answers reported to their readers."""

import asyncio
from errno import EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM
from functools import partial
from typing import Any, Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.http import HttpProcessingError

# Shortages of files, ports or memory, which clients can cause.
_OF_THIS_HOST = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL})


def is_unreachable(error: BaseException) -> bool:
    """Whether the provider refuses, or has no address or trusted certificate."""
    return isinstance(error, aiohttp.ClientConnectorError) and error.errno not in _OF_THIS_HOST


class Connector(aiohttp.TCPConnector):
    """`limit` bounds how many connections there are."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit, keepalive_timeout=60, ttl_dns_cache=30)
        self._factory = cast("partial[ResponseHandler]", partial(Protocol, loop=self._loop))

    async def _create_connection(
        self, req: ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        """Tells a provider's timeout from the pool's, which aiohttp raises alike."""
        try:
            return await super()._create_connection(req, traces, timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("the provider took too long") from error


class Protocol(ResponseHandler):
    """A connection. Fails the reader of an answer's body if the rest cannot come.

    aiohttp reports bytes that are not HTTP only to a caller that waits for a head, reports a local
    close to no reader, and takes a reset for the end of a body without length.
    """

    # The event loop's time of the last read.
    _last_read_at = 0.0

    def expect_nothing(self) -> None:
        """Rejects bytes until the next request: they must not become its answer.

        Such bytes close the connection, so the pool does not reuse it.
        """
        self._parser = cast("Any", _NOTHING)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        # aiohttp marks a missing cause with a value of its own.
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

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp asks for it after each read; bytes wait, and the parser, only after a pause."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def start_timeout(self) -> None:
        """Nothing arrives while reading is paused; resuming starts the timeout."""
        if not self._reading_paused:
            super().start_timeout()

    def _reschedule_timeout(self) -> None:
        """Notes the time of each read; a new timer for each would cost a stream more."""
        self._last_read_at = self._loop.time()
        if self._read_timeout and self._read_timeout_handle is None:
            self._wait_until(self._last_read_at + self._read_timeout)

    def _on_read_timeout(self) -> None:
        due = self._last_read_at + (self._read_timeout or 0.0)
        if due > self._loop.time():
            self._wait_until(due)
        else:
            super()._on_read_timeout()

    def _wait_until(self, due: float) -> None:
        self._read_timeout_handle = self._loop.call_at(due, self._on_read_timeout)

    def _fail_body(self, error: BaseException) -> None:
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(error)


class _Nothing:
    """A parser that rejects all bytes."""

    def feed_data(self, data: bytes) -> tuple[tuple[()], bool, bytes]:
        if data:
            raise HttpProcessingError(message="an answer came without a request")
        return (), False, b""

    def feed_eof(self) -> None:
        """A connection may end at any time."""


_NOTHING: Final = _Nothing()
