"""Ends tasks that run until they are cancelled."""

import asyncio

# Longer than such a task takes to tidy up.
_AGAIN_S = 3.0


async def end(task: asyncio.Task[None], *, again_s: float = _AGAIN_S) -> None:
    """Cancels it until it has ended; what it raised stays with it.

    Once is not enough: redis-py swallows a cancellation that comes while it connects, and the task
    goes on as if nobody had asked.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=again_s)
