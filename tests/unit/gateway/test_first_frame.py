"""A stream that is closed while its first frame is awaited."""

import asyncio
from collections.abc import AsyncGenerator

from services.gateway.upstream.first_frame import Frames
from tests.support.polling import PATIENCE_S


async def test_a_stop_that_comes_while_a_stream_is_closed_is_not_lost() -> None:
    is_waiting, cancelled, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
    closed = False

    async def source() -> AsyncGenerator[bytes, None]:
        nonlocal closed
        try:
            is_waiting.set()
            await asyncio.Event().wait()
            yield b""
        except asyncio.CancelledError:
            # As a library that tidies up.
            cancelled.set()
            await may_end.wait()
            raise
        finally:
            closed = True

    frames = Frames(source())
    assert await frames.begin(0) == b""
    await is_waiting.wait()
    closing = asyncio.create_task(frames.aclose())
    await cancelled.wait()
    closing.cancel()
    await asyncio.sleep(0)
    may_end.set()
    await asyncio.wait({closing}, timeout=PATIENCE_S)
    assert closing.cancelled()
    assert closed
