"""Which workers are there for a shard's queue, and how far they are behind.

Nothing is locked. A worker that is not seen any more is dropped by the shard's own clock.
"""

from collections.abc import Sequence

import msgspec

from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.scripts import ALLOW_OOM
from libs.common.storage.redis.shards import Shards

_KEY = "gateway:worker:shard-workers"
# A full Redis runs it too: posting frees its memory. KEYS: the workers, and the queue. ARGV: the
# worker, and after how many ms without a word one is gone.
_ANNOUNCE = (
    ALLOW_OOM
    + """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now_ms - ARGV[2]))
local head = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
return {head[2] and now_ms - head[2] or 0, redis.call('ZRANGE', KEYS[1], 0, -1)}
"""
)


class Presence(msgspec.Struct, frozen=True):
    """The workers of a shard, in the order of their names, and how long its first job has been due.

    Jobs under way count: their first one is due since it was enqueued or put back.
    """

    workers: Sequence[str]
    late_ms: int


class ShardWorkers:
    """One sorted set in each shard, by the time at which a worker was last seen there."""

    def __init__(
        self,
        pipelined: Pipelined,
        shards: Shards,
        queues: Sequence[str],
        *,
        gone_after_ms: int,
    ) -> None:
        """`queues` are their names, by shard."""
        self._pipelined = pipelined
        self._shards = shards
        self._queues = queues
        self._gone_after_ms = gone_after_ms

    @property
    def count(self) -> int:
        """How many shards there are."""
        return self._shards.count

    async def announce(self, shard: int, worker: str) -> Presence:
        """Says that the worker is there."""
        keys = (self._shards.name(_KEY, shard), self._queues[shard])
        arguments = (len(keys), *keys, worker, self._gone_after_ms)
        late_ms, names = await self._pipelined.run("EVAL", _ANNOUNCE, *arguments)
        return Presence(sorted(name.decode() for name in names), late_ms)

    async def leave(self, shard: int, worker: str) -> None:
        """The others take over its share at once."""
        await self._pipelined.run("ZREM", self._shards.name(_KEY, shard), worker)
