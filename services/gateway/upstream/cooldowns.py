"""Leaves a failing deployment alone for a while, on all replicas."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from time import time

import structlog

from libs.common.logging import words_of
from libs.common.storage.cooldowns import CooldownStore
from libs.common.storage.redis import RedisError

log = structlog.get_logger(__name__)
_SYNC_S = 1.0


class Cooldowns:
    """Counts failures in a row here, and shares what follows from them through Redis.

    While Redis is away, each replica keeps to what it has seen itself.
    """

    def __init__(
        self,
        store: CooldownStore,
        *,
        clock: Callable[[], float] = time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._failures: Counter[str] = Counter()
        self._until_s: dict[str, float] = {}
        self._unshared: dict[str, float] = {}

    def is_cooling(self, deployment_id: str) -> bool:
        return self._until_s.get(deployment_id, 0.0) > self._clock()

    def succeeded(self, deployment_id: str) -> None:
        self._failures.pop(deployment_id, None)

    def failed(self, deployment_id: str, *, after: int, for_s: float) -> None:
        """The deployment failed once more; from the `after`th time in a row it cools down."""
        self._failures[deployment_id] += 1
        if self._failures[deployment_id] >= after:
            self.start(deployment_id, for_s)

    def start(self, deployment_id: str, for_s: float) -> None:
        """Cools it down at once, as when the provider said how long it wants to be left alone."""
        until_s = self._clock() + for_s
        self._failures.pop(deployment_id, None)
        self._until_s[deployment_id] = self._unshared[deployment_id] = until_s
        log.warning("deployment.cooling", deployment=deployment_id, seconds=round(for_s))

    async def share(self) -> None:
        """Runs until cancelled: tells the other replicas, and learns from them."""
        while True:
            await self._sleep(_SYNC_S)
            unshared, self._unshared = self._unshared, {}
            try:
                shared = await self._store.exchange(unshared, now_s=self._clock())
            except RedisError as error:
                self._unshared = unshared | self._unshared
                log.debug("cooldowns.not_shared", error=words_of(error))
                continue
            self._learn(shared)

    def _learn(self, shared: Mapping[str, float]) -> None:
        """What began here while the others were asked must not be lost to what they knew."""
        now_s = self._clock()
        mine = self._until_s
        self._until_s = {
            id_: until_s
            for id_ in mine.keys() | shared.keys()
            if (until_s := max(mine.get(id_, 0.0), shared.get(id_, 0.0))) > now_s
        }
