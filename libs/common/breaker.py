"""Spares calls the wait for a server that is known to be away."""

from collections.abc import Callable
from time import monotonic


class Breaker:
    """After a failure it is open for `pause_s`; then one caller at a time may try again."""

    def __init__(self, pause_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._pause_s = pause_s
        self._clock = clock
        self._open_until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the last try failed."""
        return self._open_until is not None

    def allows(self) -> bool:
        """Whether to try. While the breaker is half open, one caller gets True, and has to try."""
        if self._open_until is None:
            return True
        if self._clock() < self._open_until:
            return False
        self._open_until = self._clock() + self._pause_s
        return True

    def succeeded(self) -> None:
        self._open_until = None

    def failed(self) -> None:
        self._open_until = self._clock() + self._pause_s
