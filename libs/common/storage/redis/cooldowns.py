"""Cooldowns that all replicas share: deployments, each with the Unix time of its end.

A reason is for people alone: replicas write it and never read it.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from libs.common.storage.redis.client import Redis

_KEY = "gateway:cooldowns"
_REASON = "gateway:cooldown-reason:"
# A reason outlives its cooldown by the difference of two machines' clocks.
_SPARE_MS = 5_000


NO_REASONS: Mapping[str, str] = MappingProxyType({})


class CooldownStore:
    """One sorted set, from which ended cooldowns are removed."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def exchange(
        self, until_s: Mapping[str, float], *, now_s: float, reasons: Mapping[str, str] = NO_REASONS
    ) -> dict[str, float]:
        """Adds cooldowns, and returns all that have not ended, in one round trip."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            if until_s:
                pipeline.zadd(_KEY, dict(until_s), gt=True)
            for name in until_s.keys() & reasons.keys():
                kept_ms = max(int((until_s[name] - now_s) * 1000), 0) + _SPARE_MS
                pipeline.set(_REASON + name, reasons[name], px=kept_ms)
            pipeline.zremrangebyscore(_KEY, "-inf", now_s)
            pipeline.zrange(_KEY, 0, -1, withscores=True)
            *_, rows = await pipeline.execute()
        return {name.decode(): score for name, score in rows}

    async def active(self, *, now_s: float) -> dict[str, float]:
        """The cooldowns that have not ended; writes nothing."""
        rows = await self._redis.zrangebyscore(_KEY, f"({now_s}", "+inf", withscores=True)
        return {name.decode(): score for name, score in rows}

    async def reasons(self, deployment_ids: Sequence[str]) -> dict[str, str]:
        """Why they cool down, of those whose replica said so."""
        if not deployment_ids:
            return {}
        texts = await self._redis.mget([_REASON + each for each in deployment_ids])
        return {
            each: text.decode()
            for each, text in zip(deployment_ids, texts, strict=True)
            if text is not None
        }
