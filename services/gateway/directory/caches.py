"""Makes the caches of administrators' settings: first in memory, then in Redis, before MongoDB."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from libs.common.breaker import Breaker
from libs.common.cache import Grace, Loaded, LoadingCache, SourceAway
from libs.common.schemas.invalidation import InvalidationKind
from libs.common.storage.mongo.driver import PyMongoError
from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.shared_cache import SharedCache
from services.gateway.metrics import BREAKER_OPEN, CACHE_LOOKUPS
from services.gateway.settings import Settings

V = TypeVar("V")

# A cache raises these if it needs MongoDB, and MongoDB does not answer.
DATABASE_AWAY = (PyMongoError, SourceAway)
# How long no request goes to a MongoDB that did not answer.
_MONGO_PAUSE_S = 1.0
# The driver would look for a server for longer than a caller should wait for a 503.
_LOAD_TIMEOUT_S = 2.0
# Bounds the reads for a client that retries a wrong key; a new key works soon enough.
_NEGATIVE_TTL_S = 5.0
# How often look-ups are reported.
_REPORT_S = 5.0


class Caches:
    """Makes caches with the same times and bounds."""

    def __init__(
        self,
        pipelined: Pipelined,
        redis_breaker: Breaker,
        settings: Settings,
        *,
        load_timeout_s: float = _LOAD_TIMEOUT_S,
    ) -> None:
        self._pipelined = pipelined
        self._redis_breaker = redis_breaker
        self._settings = settings
        self._load_timeout_s = load_timeout_s
        self._mongo_breaker = Breaker(_MONGO_PAUSE_S)
        self._caches: list[tuple[InvalidationKind, LoadingCache[Any]]] = []
        BREAKER_OPEN.labels("mongo").set_function(lambda: self._mongo_breaker.is_open)

    def in_memory(
        self, kind: InvalidationKind, load: Callable[[str], Awaitable[V | Loaded[V] | None]]
    ) -> LoadingCache[V]:
        async def load_in_time(key: str) -> V | Loaded[V] | None:
            try:
                async with asyncio.timeout(self._load_timeout_s):
                    return await load(key)
            except TimeoutError:
                raise SourceAway from None

        settings = self._settings
        cache: LoadingCache[V] = LoadingCache(
            load_in_time,
            max_items=settings.cache_max_items,
            ttl_s=settings.cache_ttl_s,
            negative_ttl_s=min(_NEGATIVE_TTL_S, settings.cache_ttl_s),
            grace=Grace(settings.cache_grace_factor, DATABASE_AWAY, self._mongo_breaker),
        )
        self._caches.append((kind, cache))
        return cache

    def in_redis(self, kind: InvalidationKind, value_type: type[V]) -> SharedCache[V]:
        return SharedCache(
            self._pipelined,
            self._redis_breaker,
            kind,
            value_type,
            ttl_s=self._settings.cache_ttl_s,
        )

    async def report_lookups(self) -> None:
        """Runs until cancelled: a call only counts in the cache, which costs it next to nothing."""
        while True:
            self.report()
            await asyncio.sleep(_REPORT_S)

    def report(self) -> None:
        """Adds the look-ups since the last report to the metrics."""
        for kind, cache in self._caches:
            for result, lookups in (("hit", cache.hits), ("miss", cache.misses)):
                CACHE_LOOKUPS.labels(kind, result).inc(lookups)
            cache.hits = cache.misses = 0
