"""How the gateway caches what administrators set: in memory, in Redis, and then MongoDB's word."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from libs.common.breaker import Breaker
from libs.common.cache import Grace, Loaded, LoadingCache, SourceAway
from libs.common.schemas.invalidation import InvalidationKind
from libs.common.storage.l2 import L2
from libs.common.storage.mongo import PyMongoError
from libs.common.storage.redis import Redis
from services.gateway.settings import Settings

V = TypeVar("V")

# What a cache raises where MongoDB would have to be asked and does not answer.
DATABASE_AWAY = (PyMongoError, SourceAway)
# How long a MongoDB is left alone that did not answer.
_MONGO_PAUSE_S = 1.0
# Long enough to blunt a client that keeps trying a wrong key, short enough for a new one to work.
_NEGATIVE_TTL_S = 5.0


class Caches:
    """Makes them, all with the same times and bounds."""

    def __init__(self, redis: Redis, redis_breaker: Breaker, settings: Settings) -> None:
        self._redis = redis
        self._redis_breaker = redis_breaker
        self._settings = settings
        self._mongo_breaker = Breaker(_MONGO_PAUSE_S)

    def in_memory(self, load: Callable[[str], Awaitable[V | Loaded[V] | None]]) -> LoadingCache[V]:
        settings = self._settings
        return LoadingCache(
            load,
            max_items=settings.cache_max_items,
            ttl_s=settings.cache_ttl_s,
            negative_ttl_s=min(_NEGATIVE_TTL_S, settings.cache_ttl_s),
            grace=Grace(settings.cache_grace_factor, (PyMongoError,), self._mongo_breaker),
        )

    def in_redis(self, kind: InvalidationKind, value_type: type[V]) -> L2[V]:
        return L2(
            self._redis,
            self._redis_breaker,
            kind,
            value_type,
            ttl_s=self._settings.cache_ttl_s,
        )
