"""Gives all replicas the same time: that of Redis, as it reports it with each admission."""

from collections.abc import Callable
from time import time_ns

_NS_PER_MS = 1_000_000
# A smaller difference may be the round trip's, and does not move the clock.
_TOLERANCE_MS = 100


class SharedClock:
    """This machine's clock, corrected by the offset to Redis's."""

    def __init__(self, clock_ns: Callable[[], int] = time_ns) -> None:
        self._clock_ns = clock_ns
        self._offset_ms = 0

    def now_ms(self) -> int:
        return self._clock_ns() // _NS_PER_MS + self._offset_ms

    def adjust(self, redis_ms: int, *, asked_ms: int) -> None:
        """Redis reported `redis_ms` at some moment between `asked_ms` of this clock and now."""
        now_ms = self.now_ms()
        if not asked_ms - _TOLERANCE_MS <= redis_ms <= now_ms + _TOLERANCE_MS:
            self._offset_ms += redis_ms - now_ms
