"""A stream whose first frame is asked for before anybody reads it, since it may be an error."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from libs.common.tasks import end_task


class Closing(Protocol):
    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None: ...


class Frames:
    """Iterates once, the first frame included, however long that takes."""

    def __init__(self, source: Closing) -> None:
        self._source = source
        self._first: asyncio.Task[bytes | None] | None = None

    async def begin(self, within_s: float) -> bytes:
        """The first frame; empty where it takes longer, or where there is none.

        Raises what the source raises for it. The stream is closed then.
        """
        self._first = asyncio.create_task(self._next())
        try:
            await asyncio.wait({self._first}, timeout=within_s)
            return (self._first.result() or b"") if self._first.done() else b""
        except BaseException:
            await self.aclose()
            raise

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._first is None:
            return await anext(self._source)
        frame = await self._first
        self._first = None
        if frame is None:
            raise StopAsyncIteration
        return frame

    async def aclose(self) -> None:
        try:
            if self._first is not None:
                await end_task(self._first)
        finally:
            await self._source.aclose()

    async def _next(self) -> bytes | None:
        return await anext(self._source, None)
