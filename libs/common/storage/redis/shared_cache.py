"""The second cache level, in Redis, which all replicas share.

MongoDB is the truth. An administrator's write leaves a tombstone, so that a replica that read the
old value just before cannot cache it; the value of a read that took too long is not cached. API
keys appear only by their hashes. While Redis is unavailable, all values come from MongoDB.
"""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar

import msgspec
import structlog

from libs.common.breaker import Breaker
from libs.common.cache import Loaded
from libs.common.decode_errors import UNREADABLE
from libs.common.schemas.invalidation import InvalidationKind
from libs.common.storage.redis.client import Redis, RedisError
from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.scripts import ALLOW_OOM, run_once

log = structlog.get_logger(__name__)
# Part of the keys. It changes with the form of the values, so releases do not read each other's.
_VERSION = 2
_TOMBSTONE = b""
_TOMBSTONE_S = 15
# A full Redis runs it too, or a revoked key would work until its cached value expires.
_SET_TOMBSTONE = ALLOW_OOM + "redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])"
# A longer read may have begun before a write whose tombstone has expired.
_MAX_READ_S = 5.0
_MS = 1000

V = TypeVar("V")


class SharedCache(Generic[V]):
    """Caches one kind of object. Absence is not cached, since a client can send any name."""

    def __init__(
        self,
        pipelined: Pipelined,
        breaker: Breaker,
        kind: InvalidationKind,
        value_type: type[V],
        *,
        ttl_s: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._pipelined = pipelined
        self._breaker = breaker
        self._kind = kind
        self._ttl_ms = int(ttl_s * _MS)
        self._clock = clock
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(value_type).decode

    async def get(
        self, object_id: str, load: Callable[[str], Awaitable[V | None]]
    ) -> Loaded[V] | None:
        """From Redis, else from `load`. `Loaded` bounds how long the caller may keep the value."""
        name = cached_item_key(self._kind, object_id)
        found = await self._find(name)
        if found is not None:
            return found
        began = self._clock()
        value = await load(object_id)
        if value is None:
            return None
        if self._clock() - began < _MAX_READ_S:
            await self._keep(name, value)
        return Loaded(value, self._ttl_ms / _MS)

    async def _find(self, name: str) -> Loaded[V] | None:
        if not self._breaker.allows():
            return None
        try:
            raw, left_ms = await self._pipelined.run_all(("GET", name), ("PTTL", name))
        except (RedisError, OSError) as error:
            self._breaker.failed()
            log.warning("shared_cache.unavailable", error=error)
            return None
        self._breaker.succeeded()
        if raw is None or raw == _TOMBSTONE or left_ms <= 0:
            return None
        try:
            return Loaded(self._decode(raw), left_ms / _MS)
        except UNREADABLE:
            log.warning("shared_cache.undecodable", kind=self._kind)
            return None

    async def _keep(self, name: str, value: V) -> None:
        if not self._breaker.allows():
            return
        try:
            # NX: replaces neither a tombstone nor a later value.
            await self._pipelined.run("SET", name, self._encode(value), "NX", "PX", self._ttl_ms)
        except (RedisError, OSError) as error:
            self._breaker.failed()
            log.warning("shared_cache.unavailable", error=error)
        else:
            self._breaker.succeeded()


async def tombstone(redis: Redis, kind: InvalidationKind, object_id: str) -> None:
    """After a write: removes the cached value and blocks caching for `_TOMBSTONE_S`."""
    await run_once(
        redis, _SET_TOMBSTONE, [cached_item_key(kind, object_id)], _TOMBSTONE, _TOMBSTONE_S
    )


def cached_item_key(kind: InvalidationKind, object_id: str) -> str:
    return f"gateway:l2:{_VERSION}:{kind}:{object_id}"
