"""A task that is to end does, though a library swallowed its cancellation."""

import asyncio

import pytest

from libs.common import tasks
from tests.support.polling import PATIENCE_S


class _Swallower:
    """Counts its cancellations, and takes notice of the second only."""

    def __init__(self) -> None:
        self.cancellations = 0
        self.waits = asyncio.Event()

    async def work(self) -> None:
        while True:
            try:
                self.waits.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancellations += 1
                if self.cancellations > 1:
                    raise


async def test_a_swallowed_cancellation_is_sent_again() -> None:
    swallower = _Swallower()
    task = asyncio.create_task(swallower.work())
    await swallower.waits.wait()
    async with asyncio.timeout(PATIENCE_S):
        await tasks.end_task(task, again_s=0.01)
    assert (task.cancelled(), swallower.cancellations) == (True, 2)


async def test_a_task_runs_until_its_block_ends() -> None:
    swallower = _Swallower()
    async with asyncio.timeout(PATIENCE_S), tasks.running(swallower.work(), again_s=0.01) as task:
        await swallower.waits.wait()
        assert not task.done()
    assert (task.cancelled(), swallower.cancellations) == (True, 2)


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
    await tasks.end_task(task)
    assert str(task.exception()) == "of its own"


async def test_a_cancelled_caller_still_ends_its_task() -> None:
    swallower = _Swallower()
    task = asyncio.create_task(swallower.work())
    await swallower.waits.wait()
    ending = asyncio.create_task(tasks.end_task(task, again_s=0.01))
    while not swallower.cancellations:
        await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait({ending}, timeout=PATIENCE_S)
    assert (ending.cancelled(), task.cancelled(), swallower.cancellations) == (True, True, 2)


async def test_where_one_of_many_fails_the_others_are_stopped() -> None:
    """Also one that takes no notice of being cancelled."""
    stop, waits = asyncio.Event(), asyncio.Event()
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while not stop.is_set():
            try:
                waits.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1

    async def fails() -> None:
        await waits.wait()
        raise ValueError("of its own")

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ExceptionGroup) as raised:
            await tasks.until_any_ends(stop, deaf(), fails())
    assert [str(each) for each in raised.value.exceptions] == ["of its own"]
    assert swallowed == 1


async def test_many_run_until_they_are_stopped() -> None:
    stop, finished = asyncio.Event(), list[int]()

    async def wait_for_stop(n: int) -> None:
        await stop.wait()
        finished.append(n)

    running = asyncio.create_task(tasks.until_any_ends(stop, *map(wait_for_stop, range(3))))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not finished
    stop.set()
    async with asyncio.timeout(PATIENCE_S):
        await running
    assert sorted(finished) == [0, 1, 2]


async def test_awaited_work_outlasts_every_cancellation() -> None:
    """As a thread does, which still uses the file that the caller would close."""
    work: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(tasks.outlast(work))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    work.set_result("done")
    await asyncio.wait({task}, timeout=PATIENCE_S)
    assert task.cancelled()
    assert await tasks.outlast(work) == "done"
    failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    failed.set_exception(ValueError("of its own"))
    with pytest.raises(ValueError, match="of its own"):
        await tasks.outlast(failed)
