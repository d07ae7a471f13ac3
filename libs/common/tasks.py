"""Runs tasks beside a block, and ends them with it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

# Longer than such a task takes to tidy up.
_AGAIN_S = 3.0


@asynccontextmanager
async def running(
    work: Coroutine[Any, Any, None], *, again_s: float = _AGAIN_S
) -> AsyncIterator[asyncio.Task[None]]:
    """Runs it as a task until the block ends."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await end(task, again_s=again_s)


async def end(task: asyncio.Task[None], *, again_s: float = _AGAIN_S) -> None:
    """Cancels it until it has ended; what it raised stays with it.

    Once is not enough: on Python 3.11, redis-py swallows a cancellation that comes while it sends a
    command, and the task goes on as if nobody had asked.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=again_s)
