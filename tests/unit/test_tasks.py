"""A task that is to end does, though a library swallowed its cancellation."""

import asyncio

import pytest

from libs.common import tasks
from tests.support.polling import PATIENCE_S


class _Swallower:
    """Counts its cancellations, and takes notice of the second only."""

    def __init__(self) -> None:
        self.asked = 0
        self.waits = asyncio.Event()

    async def work(self) -> None:
        while True:
            try:
                self.waits.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.asked += 1
                if self.asked > 1:
                    raise


async def test_a_swallowed_cancellation_is_sent_again() -> None:
    swallower = _Swallower()
    task = asyncio.create_task(swallower.work())
    await swallower.waits.wait()
    async with asyncio.timeout(PATIENCE_S):
        await tasks.end(task, again_s=0.01)
    assert (task.cancelled(), swallower.asked) == (True, 2)


async def test_a_task_runs_until_its_block_ends() -> None:
    swallower = _Swallower()
    async with asyncio.timeout(PATIENCE_S), tasks.running(swallower.work(), again_s=0.01) as task:
        await swallower.waits.wait()
        assert not task.done()
    assert (task.cancelled(), swallower.asked) == (True, 2)


async def test_a_task_ends_with_a_block_that_fails() -> None:
    with pytest.raises(ZeroDivisionError):
        async with tasks.running(_Swallower().work()) as task:
            raise ZeroDivisionError
    assert task.cancelled()


async def test_a_task_that_failed_keeps_its_error() -> None:
    async def fails() -> None:
        raise ValueError("of its own")

    task = asyncio.create_task(fails())
    await asyncio.wait({task})
    await tasks.end(task)
    assert str(task.exception()) == "of its own"
