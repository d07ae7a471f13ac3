"""Reads Redis' copy of the accounts' spend, which `lua/settle.lua` writes."""

from collections.abc import Sequence

from libs.common.schemas.spend import PeriodSpend
from libs.common.storage.redis.client import Redis, RedisError
from libs.common.storage.redis.shards import shards_of

_READ_AT_ONCE = 500


async def forget_spend(redis: Redis) -> int:
    """Deletes the copy, of accounts and keys alike; it is made again from MongoDB. Returns how many
    figures there were.
    """
    forgotten, names = 0, []
    async for name in redis.scan_iter(match="gateway:{*}:spent*", count=_READ_AT_ONCE):
        names.append(name)
        if len(names) == _READ_AT_ONCE:
            forgotten += await redis.unlink(*names)
            names.clear()
    return forgotten + (await redis.unlink(*names) if names else 0)


class RedisSpendReader:
    """The spend of accounts, not of their keys."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._shards = shards_of(redis)

    async def of(self, user_id: str, periods: Sequence[str]) -> dict[str, PeriodSpend]:
        """By period. Leaves out periods that Redis lacks.

        Raises RedisError or OSError while the only server does not answer. A shard that does not
        has no figures either: nobody is admitted by them.
        """
        try:
            return await self._read(user_id, periods)
        except (RedisError, OSError):
            if self._shards.count == 1:
                raise
            return {}

    async def _read(self, user_id: str, periods: Sequence[str]) -> dict[str, PeriodSpend]:
        found: dict[str, PeriodSpend] = {}
        root = self._shards.root_of(user_id)
        for start in range(0, len(periods), _READ_AT_ONCE):
            some = periods[start : start + _READ_AT_ONCE]
            values = await self._redis.mget([f"{root}:spent:{p}" for p in some])
            for period, value in zip(some, values, strict=True):
                if value is not None:
                    nusd, _, revision = value.decode().partition(":")
                    found[period] = PeriodSpend(int(nusd), int(revision or 0))
        return found
