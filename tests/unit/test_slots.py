"""Slots are bounded, go round in turn, and are never lost to a caller that is cancelled."""

import asyncio

import pytest

from libs.common.slots import Slots


async def waiters(slots: Slots, count: int) -> list["asyncio.Task[None]"]:
    tasks = [asyncio.create_task(slots.take()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_no_more_are_taken_than_there_are() -> None:
    slots = Slots(2)
    assert [slots.take_free() for _ in range(3)] == [True, True, False]
    slots.release()
    await slots.take()
    assert not slots.take_free()


async def test_the_longest_waiter_is_next() -> None:
    slots = Slots(1)
    await slots.take()
    first, second = await waiters(slots, 2)
    slots.release()
    # Nobody passes those who wait.
    assert not slots.take_free()
    await first
    assert not second.done()
    slots.release()
    await second
    slots.release()
    assert slots.take_free()


@pytest.mark.parametrize("release_before", [True, False])
async def test_a_cancelled_caller_holds_no_slot(release_before: bool) -> None:
    slots = Slots(1)
    await slots.take()
    first, second = await waiters(slots, 2)
    if release_before:
        # It is handed the slot, and cancelled before it can run.
        slots.release()
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    if not release_before:
        slots.release()
    await second
    slots.release()
    assert [slots.take_free() for _ in range(2)] == [True, False]


async def test_callers_that_gave_up_are_forgotten() -> None:
    slots = Slots(1)
    await slots.take()
    for task in await waiters(slots, 50):
        task.cancel()
        await asyncio.wait({task})
    assert len(slots._waiters) == 0
