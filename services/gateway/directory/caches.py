"""How the gateway caches what administrators set: in memory, in Redis, and then MongoDB's word."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from libs.common.breaker import Breaker
from libs.common.cache import Grace, Loaded, LoadingCache, SourceAway
from libs.common.schemas.invalidation import InvalidationKind
from libs.common.storage.mongo.driver import PyMongoError
from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.shared_cache import SharedCache
from services.gateway.settings import Settings

V = TypeVar("V")

# What a cache raises where MongoDB would have to be asked and does not answer.
DATABASE_AWAY = (PyMongoError, SourceAway)
# How long a MongoDB is left alone that did not answer.
_MONGO_PAUSE_S = 1.0
# The driver would go on looking for a server for longer than a caller should wait for a 503.
_LOAD_TIMEOUT_S = 2.0
# Long enough to blunt a client that keeps trying a wrong key, short enough for a new one to work.
_NEGATIVE_TTL_S = 5.0


class Caches:
    """Makes them, all with the same times and bounds."""

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

    def in_memory(self, load: Callable[[str], Awaitable[V | Loaded[V] | None]]) -> LoadingCache[V]:
        async def load_in_time(key: str) -> V | Loaded[V] | None:
            try:
                async with asyncio.timeout(self._load_timeout_s):
                    return await load(key)
            except TimeoutError:
                raise SourceAway from None

        settings = self._settings
        return LoadingCache(
            load_in_time,
            max_items=settings.cache_max_items,
            ttl_s=settings.cache_ttl_s,
            negative_ttl_s=min(_NEGATIVE_TTL_S, settings.cache_ttl_s),
            grace=Grace(settings.cache_grace_factor, DATABASE_AWAY, self._mongo_breaker),
        )

    def in_redis(self, kind: InvalidationKind, value_type: type[V]) -> SharedCache[V]:
        return SharedCache(
            self._pipelined,
            self._redis_breaker,
            kind,
            value_type,
            ttl_s=self._settings.cache_ttl_s,
        )
