"""The calls under way, for whoever has to wait for the last of them."""

import asyncio

import structlog

from services.gateway.metrics import CALLS_OPEN

log = structlog.get_logger(__name__)
# Calls that still run when the gateway stops have been cancelled: they only have to clean up.
_PATIENCE_S = 5.0


class OpenCalls:
    """Counts them: `with open_calls:` is one more for as long as the block runs.

    An event that is handed in after the meter has closed would be lost.
    """

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._count = 0
        self._none: asyncio.Event | None = None
        # Asked for when it is scraped, not told with each call.
        CALLS_OPEN.set_function(lambda: self._count)

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if self._count == 0 and self._none is not None:
            self._none.set()

    async def wait_for_none(self) -> None:
        """Once no more of them begin."""
        if self._count == 0:
            return
        self._none = asyncio.Event()
        try:
            async with asyncio.timeout(self._patience_s):
                await self._none.wait()
        except TimeoutError:
            log.error("calls.still_open", calls=self._count)
