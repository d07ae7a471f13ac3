"""What Redis says of itself, as far as the service's user may ask."""

from contextlib import suppress
from time import perf_counter
from typing import Any

import msgspec

from libs.common.storage.redis.client import Redis, RedisError
from libs.common.storage.redis.replicas import redis_time_ms


class RedisFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`info` is what INFO tells, empty where it is refused; `fsync` None where CONFIG is.

    `round_trip_s` is what asking for the time took.
    """

    info: dict[str, Any]
    user: str | None
    fsync: str | None
    time_ms: int
    round_trip_s: float


async def read_redis_facts(redis: Redis) -> RedisFacts:
    """Raises RedisError."""
    began = perf_counter()
    time_ms = await redis_time_ms(redis)
    round_trip_s = perf_counter() - began
    info: dict[str, Any] = {}
    user = fsync = None
    with suppress(RedisError):
        info = dict(await redis.info())
    with suppress(RedisError):
        user = _text(await redis.acl_whoami())
    with suppress(RedisError):
        config = await redis.config_get("appendfsync")
        fsync = next((_text(value) for value in config.values()), None)
    return RedisFacts(info=info, user=user, fsync=fsync, time_ms=time_ms, round_trip_s=round_trip_s)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
