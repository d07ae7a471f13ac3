"""A bounded cache in memory that loads what it lacks, once, and obeys invalidations."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar

from cachetools import TLRUCache

V = TypeVar("V")


class LoadingCache(Generic[V]):
    """Keeps what `load(key)` returned for `ttl_s`, and its None for `negative_ttl_s`.

    Concurrent callers of one key share one load. A load that was under way when its key was
    dropped serves those who already waited for it, and does not fill the cache.
    """

    def __init__(
        self,
        load: Callable[[str], Awaitable[V | None]],
        *,
        max_items: int,
        ttl_s: float,
        negative_ttl_s: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._load = load
        self._ttl_s = ttl_s
        self._negative_ttl_s = negative_ttl_s
        self._items: TLRUCache[str, tuple[V | None]] = TLRUCache(
            max_items, ttu=self._expiry, timer=clock
        )
        self._loading: dict[str, asyncio.Task[V | None]] = {}

    async def get(self, key: str) -> V | None:
        """Raises what `load` raises; a failure is not kept."""
        kept = self._items.get(key)
        if kept is not None:
            return kept[0]
        task = self._loading.get(key)
        if task is None:
            task = asyncio.create_task(self._fill(key))
            self._loading[key] = task
        # One caller going away must not fail the others.
        return await asyncio.shield(task)

    def drop(self, key: str) -> None:
        """Forgets the key, and whatever a load under way will say of it."""
        self._items.pop(key, None)
        self._loading.pop(key, None)

    def clear(self) -> None:
        """Forgets everything."""
        self._items.clear()
        self._loading.clear()

    async def _fill(self, key: str) -> V | None:
        current = asyncio.current_task()
        try:
            value = await self._load(key)
            if self._loading.get(key) is current:
                self._items[key] = (value,)
            return value
        finally:
            if self._loading.get(key) is current:
                del self._loading[key]

    def _expiry(self, _key: str, kept: tuple[V | None], now: float) -> float:
        ttl_s = self._negative_ttl_s if kept[0] is None else self._ttl_s
        # Entries that were loaded together must not all expire together.
        return now + ttl_s * random.uniform(0.9, 1.0)
