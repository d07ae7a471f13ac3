"""Work in the background lives as long as the gateway, and is missed when it dies."""

import asyncio

from structlog.testing import capture_logs

from services.gateway.state import _watched


async def test_a_background_task_is_cancelled_at_the_end() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with capture_logs() as logs:
        async with _watched(work()):
            await asyncio.sleep(0)
            assert not ended.is_set()

    assert ended.is_set()
    assert logs == []


async def test_a_background_task_that_dies_is_logged_at_once() -> None:
    async def work() -> None:
        raise KeyError("lost")

    with capture_logs() as logs:
        async with _watched(work()):
            for _ in range(3):
                await asyncio.sleep(0)
            assert [line["event"] for line in logs] == ["background.died"]
