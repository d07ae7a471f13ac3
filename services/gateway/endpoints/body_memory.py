"""Bounds the memory of request bodies, for the process and for each account.

A body is counted from its first bytes until its call has ended, since a call keeps its body for
retries and fallbacks; once it is whole, with the copies that sending it on takes. Small bodies that
arrive at once are not counted (see `body`).
"""

from collections import Counter

from libs.common.errors import BodiesTooLarge, Unavailable
from libs.common.schemas.usage import Operation
from services.gateway.metrics import BODIES_ARRIVING, BODIES_BYTES, BODIES_REFUSED

# Most other calls end within seconds.
_RETRY_AFTER_S = 2

# What a call takes of memory while it is sent, in sizes of its body, as measured: the body and its
# encoding for the provider; and where LiteLLM translates it, Python's objects and LiteLLM's copies.
_RELAYED = 2
_TRANSLATED = 7

# Purpose, user_id, key_id (None for the account itself).
_Owner = tuple[Operation, str, str | None]


class BodyMemory:
    """Counts the bodies of this process's calls. A lone body is always served."""

    def __init__(self, *, max_bytes: int, max_account_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.max_account_bytes = max_account_bytes
        self.bytes = 0
        self.account_bytes: Counter[str] = Counter()
        self.arriving: Counter[_Owner] = Counter()
        BODIES_BYTES.set_function(lambda: self.bytes)
        BODIES_ARRIVING.set_function(self._count_arriving)

    def lease(self, operation: Operation, user_id: str, key_id: str) -> "BodyLease":
        """The lease of a body that is late or large. The caller releases it."""
        return BodyLease(self, operation, user_id, key_id)

    def _count_arriving(self) -> int:
        return sum(count for (_, _, key_id), count in self.arriving.items() if key_id is None)


class BodyLease:
    """One body's part. `places` count the bodies of its account, and of its key, that are arriving
    for the same: itself and those that came before it. (To count tokens is under no limit.)"""

    __slots__ = ("_memory", "_owners", "_user_id", "places", "taken")

    def __init__(self, memory: BodyMemory, operation: Operation, user_id: str, key_id: str) -> None:
        self._memory = memory
        self._user_id = user_id
        self._owners: tuple[_Owner, ...] = (
            (operation, user_id, None),
            (operation, user_id, key_id),
        )
        self.taken = 0
        memory.arriving.update(self._owners)
        self.places = tuple(memory.arriving[owner] for owner in self._owners)

    def take(self, more: int) -> None:
        """Raises as `check`."""
        self.check(more)
        self._add(more)

    def check(self, more: int) -> None:
        """Raises BodiesTooLarge or Unavailable if the body may not take this much more."""
        memory = self._memory
        account_bytes = memory.account_bytes[self._user_id]
        if account_bytes > self.taken and account_bytes + more > memory.max_account_bytes:
            BODIES_REFUSED.labels("account").inc()
            raise BodiesTooLarge(
                "The requests that this account has under way may take "
                f"{memory.max_account_bytes} bytes of a gateway's memory. Try again in "
                f"{_RETRY_AFTER_S} s, with fewer large requests at a time.",
                retry_after_s=_RETRY_AFTER_S,
            )
        if memory.bytes > self.taken and memory.bytes + more > memory.max_bytes:
            BODIES_REFUSED.labels("process").inc()
            raise Unavailable(
                "The gateway has no memory for another large request now. Try again in "
                f"{_RETRY_AFTER_S} s.",
                retry_after_s=_RETRY_AFTER_S,
            )

    def take_copies(self, *, translated: bool) -> None:
        """Call this before the call is sent on. Raises as `check`."""
        self.take(self.taken * ((_TRANSLATED if translated else _RELAYED) - 1))

    def arrived(self) -> None:
        """The body is whole."""
        arriving = self._memory.arriving
        for owner in self._owners:
            arriving[owner] -= 1
            if arriving[owner] == 0:
                del arriving[owner]
        self._owners = ()

    def release(self) -> None:
        """The call has ended."""
        self.arrived()
        self._add(-self.taken)

    def _add(self, change: int) -> None:
        account_bytes = self._memory.account_bytes
        self._memory.bytes += change
        self.taken += change
        account_bytes[self._user_id] += change
        if account_bytes[self._user_id] == 0:
            del account_bytes[self._user_id]
