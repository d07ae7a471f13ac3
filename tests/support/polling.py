"""Waiting for what servers and processes do without announcing it.

The limits only bound a test that would hang; no test depends on how long they are.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE_S = 60.0


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(2 * PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.02)


async def eventually_in_thread(
    condition: Callable[[], bool], *, limit_s: float = 4 * PATIENCE_S
) -> None:
    """For a condition that blocks."""
    async with asyncio.timeout(limit_s):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.1)


def block_until(condition: Callable[[], bool], limit_s: float) -> None:
    """For a test without an event loop."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
