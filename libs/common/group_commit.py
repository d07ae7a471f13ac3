"""Group commit: many small writes share one, without a timer.

An item that arrives while nothing is under way is written at once. What arrives while a write is
under way goes into the next one. Each `commit` returns when its own item is durable.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from libs.common.slots import Slots

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T, R]):
    """`write` takes up to `max_items` and returns one result for each, in order.

    An exception from `write` reaches every caller of that batch. At most `max_waiting` callers
    of `commit` wait at a time; the next one waits for its turn to wait.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        max_items: int,
        max_waiting: int,
    ) -> None:
        self._write = write
        self._max_items = max_items
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._room = Slots(max_waiting)
        self._writer: asyncio.Task[None] | None = None

    async def commit(self, item: T) -> R:
        """The result of the write that contained `item`.

        A cancelled caller leaves its item in the batch: what was handed in is written.
        """
        if not self._room.take_free():
            try:
                await self._room.take()
            except asyncio.CancelledError:
                self.submit(item)
                raise
        try:
            return await self.submit(item)
        finally:
            self._room.release()

    def submit(self, item: T) -> asyncio.Future[R]:
        """Hands in an item for a caller that cannot wait, such as a cancelled task."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._run())
        return future

    @property
    def waiting(self) -> int:
        """Items that no write has taken up yet."""
        return len(self._waiting)

    async def close(self) -> None:
        """Waits until everything handed in has been written."""
        while self._writer is not None and not self._writer.done():
            await asyncio.wait({self._writer})

    async def _run(self) -> None:
        while self._waiting:
            size = min(len(self._waiting), self._max_items)
            batch = [self._waiting.popleft() for _ in range(size)]
            try:
                results = await self._write([item for item, _ in batch])
                if len(results) != size:
                    raise RuntimeError(f"{len(results)} results for {size} items")
            except Exception as error:  # noqa: BLE001 - each caller decides what it means
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
