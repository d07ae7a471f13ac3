"""Waits for what another process is going to do."""

import asyncio
from collections.abc import Callable

LIMIT_S = 60.0
_PAUSE_S = 0.1


async def wait_for(condition: Callable[[], bool], *, limit_s: float = LIMIT_S) -> None:
    """Asks, in a thread, until it holds. Raises TimeoutError after `limit_s`."""
    async with asyncio.timeout(limit_s):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(_PAUSE_S)
