"""Counts the open calls, so that the process can wait for the last one."""

import asyncio

import structlog

from services.gateway.metrics import CALLS_OPEN

log = structlog.get_logger(__name__)
# Calls that are open when the gateway stops were cancelled: only their cleanup remains.
_CLEANUP_S = 5.0


class OpenCalls:
    """`with open_calls:` counts one call while the block runs.

    An event that is enqueued after the meter has closed would be lost.
    """

    def __init__(self, cleanup_s: float = _CLEANUP_S) -> None:
        self._cleanup_s = cleanup_s
        self._count = 0
        self._none: asyncio.Event | None = None
        # Read when metrics are scraped.
        CALLS_OPEN.set_function(lambda: self._count)

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if self._count == 0 and self._none is not None:
            self._none.set()

    async def wait_for_none(self) -> None:
        """Call this once no call can begin."""
        if self._count == 0:
            return
        self._none = asyncio.Event()
        try:
            async with asyncio.timeout(self._cleanup_s):
                await self._none.wait()
        except TimeoutError:
            log.error("calls.still_open", calls=self._count)
