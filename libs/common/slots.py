"""A bounded number of slots, as `asyncio.Semaphore`, but a free one is taken without an await.

Invariant: nobody waits while a slot is free. Whoever waits gets one in turn.
"""

import asyncio
from collections import deque


class Slots:
    """Whoever has taken a slot releases it."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiters: deque[asyncio.Future[None]] = deque()

    def take_free(self) -> bool:
        """Whether there was one."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    async def take(self) -> None:
        """Waits until there is one. A caller that is cancelled has none."""
        if self.take_free():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                # It came at the same moment.
                self.release()
            else:
                self._waiters.remove(turn)
            raise

    def release(self) -> None:
        """Hands the slot to the caller that has waited longest."""
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
