"""Cooldowns that all replicas share: deployments, each with the Unix time of its end."""

from collections.abc import Mapping

from libs.common.storage.redis.client import Redis

_KEY = "gateway:cooldowns"


class CooldownStore:
    """One sorted set, from which ended cooldowns are removed."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def exchange(self, until_s: Mapping[str, float], *, now_s: float) -> dict[str, float]:
        """Adds cooldowns, and returns all that have not ended, in one round trip."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            if until_s:
                pipeline.zadd(_KEY, dict(until_s), gt=True)
            pipeline.zremrangebyscore(_KEY, "-inf", now_s)
            pipeline.zrange(_KEY, 0, -1, withscores=True)
            *_, rows = await pipeline.execute()
        return {name.decode(): score for name, score in rows}

    async def active(self, *, now_s: float) -> dict[str, float]:
        """The cooldowns that have not ended; writes nothing."""
        rows = await self._redis.zrangebyscore(_KEY, f"({now_s}", "+inf", withscores=True)
        return {name.decode(): score for name, score in rows}
