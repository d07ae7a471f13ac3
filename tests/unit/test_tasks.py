"""A task that is to end does, though a library swallowed its cancellation."""

import asyncio

from libs.common import tasks
from tests.support.polling import PATIENCE_S


async def test_a_swallowed_cancellation_is_sent_again() -> None:
    asked = 0
    running = asyncio.Event()

    async def swallows_the_first() -> None:
        nonlocal asked
        while True:
            try:
                running.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                asked += 1
                if asked > 1:
                    raise

    task = asyncio.create_task(swallows_the_first())
    await running.wait()
    async with asyncio.timeout(PATIENCE_S):
        await tasks.end(task, again_s=0.01)
    assert (task.cancelled(), asked) == (True, 2)


async def test_a_task_that_failed_keeps_its_error() -> None:
    async def fails() -> None:
        raise ValueError("of its own")

    task = asyncio.create_task(fails())
    await asyncio.wait({task})
    await tasks.end(task)
    assert str(task.exception()) == "of its own"
