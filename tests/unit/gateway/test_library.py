"""LiteLLM is imported once, whoever gives up while that is under way."""

import asyncio
import threading
from typing import Any

import pytest

from services.gateway.upstream.adapters.library import LazyLibrary


class Import:
    """One that takes until it is let go."""

    def __init__(self, *, failures: int = 0) -> None:
        self.starts = 0
        self.closed = 0
        self.go_on = threading.Event()
        self._failures = failures

    def __call__(self) -> Any:
        self.starts += 1
        self.go_on.wait(10)
        if self.starts <= self._failures:
            raise ImportError("half made")
        return self

    async def close(self) -> None:
        self.closed += 1


async def wait_for_starts(slow: Import, number: int) -> None:
    async with asyncio.timeout(10):
        while slow.starts < number:
            await asyncio.sleep(0)


async def test_a_cancelled_call_leaves_its_import_to_the_next() -> None:
    slow = Import()
    library = LazyLibrary(slow)
    first = asyncio.create_task(library.get())
    await wait_for_starts(slow, 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    others = [asyncio.create_task(library.get()) for _ in range(3)]
    await asyncio.sleep(0)
    slow.go_on.set()
    found: list[Any] = await asyncio.gather(*others)
    assert (slow.starts, found) == (1, [slow] * 3)
    await library.close()
    assert slow.closed == 1


async def test_a_failed_import_is_retried() -> None:
    slow = Import(failures=1)
    slow.go_on.set()
    library = LazyLibrary(slow)
    with pytest.raises(ImportError):
        await library.get()
    assert await library.get() is not None
    assert slow.starts == 2


async def test_closing_waits_for_an_abandoned_import() -> None:
    slow = Import()
    library = LazyLibrary(slow)
    first = asyncio.create_task(library.get())
    await wait_for_starts(slow, 1)
    first.cancel()
    closing = asyncio.create_task(library.close())
    await asyncio.sleep(0)
    assert not closing.done()
    slow.go_on.set()
    await closing
    assert slow.closed == 1


async def test_closing_what_was_never_used_imports_nothing() -> None:
    slow = Import()
    await LazyLibrary(slow).close()
    assert slow.starts == 0
