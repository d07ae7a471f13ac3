"""A bounded cache in memory that loads missing items, each once, and drops invalidated ones."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar

import msgspec

from libs.common.breaker import Breaker

V = TypeVar("V")


class Loaded(msgspec.Struct, Generic[V], frozen=True):
    """A value, and the longest time for which it may be kept."""

    value: V
    for_s: float


class Grace(msgspec.Struct, frozen=True):
    """While the source is away, values stay valid for `factor` times their TTL.

    `away` are the errors that say so; the breaker spares callers the wait for them. What was
    dropped is gone all the same.
    """

    factor: int
    away: tuple[type[Exception], ...]
    breaker: Breaker


class SourceAway(Exception):
    """The source did not answer a moment ago, so it is not asked now."""


class _Item(msgspec.Struct, Generic[V], frozen=True):
    value: V | None
    fresh_until: float
    usable_until: float


class LoadingCache(Generic[V]):
    """Keeps what `load(key)` returned for `ttl_s`, and its None for `negative_ttl_s`.

    Concurrent callers of one key share one load. A load that was under way when its key was
    dropped serves those who already waited for it, and does not fill the cache.
    """

    def __init__(
        self,
        load: Callable[[str], Awaitable[V | Loaded[V] | None]],
        *,
        max_items: int,
        ttl_s: float,
        negative_ttl_s: float,
        grace: Grace | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._load = load
        self._ttl_s = ttl_s
        self._negative_ttl_s = negative_ttl_s
        self._grace = grace
        self._clock = clock
        self._max_items = max_items
        # Look-ups that were answered from memory, and others.
        self.hits = self.misses = 0
        # The least recently used item comes first. cachetools is in pure Python and slow, and
        # each call makes several look-ups.
        self._items: OrderedDict[str, _Item[V]] = OrderedDict()
        self._loading: dict[str, asyncio.Task[V | None]] = {}

    async def get(self, key: str) -> V | None:
        """Raises what `load` raises, or SourceAway; a failure is not kept."""
        item = self._items.get(key)
        if item is not None:
            self._items.move_to_end(key)
            if self._clock() < item.fresh_until:
                self.hits += 1
                return item.value
        self.misses += 1
        task = self._loading.get(key)
        if task is None:
            task = asyncio.create_task(self._fill(key, item))
            task.add_done_callback(_retrieve_failure)
            self._loading[key] = task
        # One caller going away must not fail the others.
        return await asyncio.shield(task)

    def drop(self, key: str) -> None:
        """Drops the key, and the result of a load that is under way."""
        self._items.pop(key, None)
        self._loading.pop(key, None)

    def clear(self) -> None:
        """Forgets everything."""
        self._items.clear()
        self._loading.clear()

    async def _fill(self, key: str, old: _Item[V] | None) -> V | None:
        current = asyncio.current_task()
        try:
            loaded = await self._try(key)
            if isinstance(loaded, _Away):
                if old is None or self._clock() >= old.usable_until:
                    raise loaded.error
                return old.value
            value, item = self._item_of(loaded)
            if self._loading.get(key) is current:
                self._keep(key, item)
            return value
        finally:
            if self._loading.get(key) is current:
                del self._loading[key]

    def _keep(self, key: str, item: _Item[V]) -> None:
        self._items[key] = item
        self._items.move_to_end(key)
        if len(self._items) > self._max_items:
            self._items.popitem(last=False)

    async def _try(self, key: str) -> "V | Loaded[V] | _Away | None":
        grace = self._grace
        if grace is None:
            return await self._load(key)
        if not grace.breaker.allows():
            return _Away(SourceAway())
        try:
            loaded = await self._load(key)
        except grace.away as error:
            grace.breaker.failed()
            return _Away(error)
        grace.breaker.succeeded()
        return loaded

    def _item_of(self, loaded: V | Loaded[V] | None) -> tuple[V | None, _Item[V]]:
        ttl_s = self._negative_ttl_s if loaded is None else self._ttl_s
        if isinstance(loaded, Loaded):
            ttl_s = min(ttl_s, loaded.for_s)
            value: V | None = loaded.value
        else:
            value = loaded
        # Entries that were loaded together must not all expire together.
        ttl_s *= random.uniform(0.9, 1.0)
        # An item that was missing a moment ago may exist by now, so misses have no grace.
        factor = 1 if self._grace is None or value is None else self._grace.factor
        now = self._clock()
        return value, _Item(value, now + ttl_s, now + ttl_s * factor)


def _retrieve_failure(task: asyncio.Task[V | None]) -> None:
    """If all callers are cancelled, asyncio would log an error that was never retrieved."""
    if not task.cancelled():
        task.exception()


class _Away(msgspec.Struct, frozen=True):
    """The source cannot be asked."""

    error: Exception
