"""Runs tasks beside a block, and ends them with it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")
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
        await end_task(task, again_s=again_s)


async def end_task(task: asyncio.Task[Any], *, again_s: float = _AGAIN_S) -> None:
    """Cancels it until it has ended; what it raised stays with it.

    Once is not enough: on Python 3.11, redis-py swallows a cancellation that comes while it sends a
    command, and the task goes on as if nobody had asked. A cancellation of the caller itself waits
    for the task's end, so that no task is left behind.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait({task}, timeout=again_s)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def outlast(work: asyncio.Future[T]) -> T:
    """Waits for its end, however often the caller is cancelled meanwhile: then raises that."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return work.result()
    if not work.cancelled():
        # So that asyncio does not report an error that nobody retrieved.
        work.exception()
    raise cancelled


async def until_any_ends(stop: asyncio.Event, *works: Coroutine[Any, Any, None]) -> None:
    """Runs all of them, each until `stop`, which is set as soon as one has ended or failed.

    A group of tasks cancels the others where one fails, but once, and waits for them: one that goes
    on as if nobody had asked would keep the process from its end, at half its work.
    """

    async def run(work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            stop.set()

    async with asyncio.TaskGroup() as tasks:
        for work in works:
            tasks.create_task(run(work))
