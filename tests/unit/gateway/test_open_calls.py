"""Whoever closes what calls need waits for the last of them, but not for ever."""

import asyncio

from services.gateway.endpoints.open_calls import OpenCalls


async def test_waiting_without_open_calls_ends_at_once() -> None:
    await OpenCalls().wait_for_none()


async def test_the_last_call_is_waited_for() -> None:
    calls = OpenCalls()
    with calls:
        with calls:
            waiting = asyncio.create_task(calls.wait_for_none())
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


async def test_a_call_that_never_ends_is_abandoned() -> None:
    calls = OpenCalls(cleanup_s=0)
    with calls:
        await calls.wait_for_none()
