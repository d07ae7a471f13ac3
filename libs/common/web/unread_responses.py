"""uvicorn's HTTP protocol, with a deadline for responses that their client does not read.

While a client does not read, `send` waits without end, and its handler keeps its memory and
connections; a response that is sent at once stays in the connection's buffer. uvicorn has no
setting for a deadline. A client that reads costs nothing: the timer runs only while more than
64 KiB wait to be sent.
"""

import asyncio
from typing import Any

import structlog
from prometheus_client import Counter
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

log = structlog.get_logger(__name__)
UNREAD = Counter(
    "http_responses_unread_total", "Connections closed since their client did not read."
)
# Less than this in `timeout_s` does not count as progress: a response of a few megabytes would
# take days.
_MIN_PROGRESS_BYTES = 16 * 1024
# Bytes that wait at one time are dropped after so many timeouts, even if the client makes progress.
_MAX_TIMEOUTS = 60


class ReadingProtocol(HttpToolsProtocol):
    """Disconnects a client that does not read its response.

    To the handler, that client has hung up.
    """

    def __init__(
        self,
        timeout_s: float,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._timeout_s = timeout_s
        self._unread: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch(_MAX_TIMEOUTS)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self, timeouts: int) -> None:
        buffered = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(
            self._timeout_s, self._check, buffered - _MIN_PROGRESS_BYTES, timeouts - 1
        )

    def _stop_watching(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _check(self, at_most: int, timeouts: int) -> None:
        buffered = self.transport.get_write_buffer_size()
        if buffered <= at_most and timeouts > 0:
            self._watch(timeouts)
            return
        self._unread = None
        UNREAD.inc()
        log.warning("response.unread", client=self.client, bytes=buffered)
        # `close` would wait until the client has read.
        self.transport.abort()
