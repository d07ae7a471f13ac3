"""Which workers are there for a shard's queue: each says so again and again.

Nothing is locked. A worker that is not seen any more is dropped by the shard's own clock.
"""

from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.scripts import ALLOW_OOM
from libs.common.storage.redis.shards import Shards

_KEY = "gateway:worker:shard-workers"
# A full Redis runs it too: posting frees its memory. ARGV: the worker, and after how many ms
# without a word one is gone.
_ANNOUNCE = (
    ALLOW_OOM
    + """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now_ms - ARGV[2]))
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
)


class ShardWorkers:
    """One sorted set in each shard, by the time at which a worker was last seen there."""

    def __init__(self, pipelined: Pipelined, shards: Shards, *, gone_after_ms: int) -> None:
        self._pipelined = pipelined
        self._shards = shards
        self._gone_after_ms = gone_after_ms

    @property
    def count(self) -> int:
        """How many shards there are."""
        return self._shards.count

    async def announce(self, shard: int, worker: str) -> list[str]:
        """Says that the worker is there. Returns all that are, in the order of their names."""
        key = self._shards.name(_KEY, shard)
        found = await self._pipelined.run("EVAL", _ANNOUNCE, 1, key, worker, self._gone_after_ms)
        return sorted(name.decode() for name in found)

    async def leave(self, shard: int, worker: str) -> None:
        """The others take over its share at once."""
        await self._pipelined.run("ZREM", self._shards.name(_KEY, shard), worker)
