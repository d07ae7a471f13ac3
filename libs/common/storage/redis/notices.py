"""Notices in Redis: each is sent once, and retried until it is sent or given up.

A worker leases a notice while it sends it. If that worker dies, another one takes the notice.
"""

from typing import Any

import msgspec

from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.pipelining import Pipelined

# One hash slot for all keys.
_ROOT = "gateway:{notices}"
# Longer than the longest period, so that a notice is not sent twice in one.
_KNOWN_S = 40 * 24 * 3600

_ADD = """
if not redis.call('SET', KEYS[1] .. ':known:' .. ARGV[1], '1', 'NX', 'EX', ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[1] .. ':payloads', ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[1] .. ':due', redis.call('TIME')[1], ARGV[1])
return 1
"""
_TAKE = """
local now = redis.call('TIME')[1]
local taken = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1] .. ':due', '-inf', now, 'LIMIT', 0, 1)) do
  local tries = redis.call('HINCRBY', KEYS[1] .. ':tries', name, 1)
  redis.call('ZADD', KEYS[1] .. ':due', now + ARGV[1], name)
  taken = {name, redis.call('HGET', KEYS[1] .. ':payloads', name) or '', tries}
end
return taken
"""


class Notice(msgspec.Struct, frozen=True):
    """`tries` includes the present one."""

    name: str
    payload: bytes
    tries: int


class NoticeStore:
    """Notices by a name; a name that was added is ignored for `_KNOWN_S`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pipelined = Pipelined(redis)

    async def add(self, name: str, payload: bytes) -> bool:
        """Returns False if the name was added before."""
        return bool(await self._eval(_ADD, name, payload, _KNOWN_S))

    async def take(self, *, lease_s: int) -> Notice | None:
        """A due notice, or None. The notice is due again after the lease, unless it is removed."""
        row = await self._eval(_TAKE, lease_s)
        return Notice(row[0].decode(), row[1], row[2]) if row else None

    async def put_back(self, name: str, *, delay_s: int) -> None:
        """Makes the notice due after the delay."""
        now_s, _ = await self._redis.time()
        await self._redis.zadd(f"{_ROOT}:due", {name: now_s + delay_s}, xx=True)

    async def done(self, name: str) -> None:
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.zrem(f"{_ROOT}:due", name)
            pipeline.hdel(f"{_ROOT}:payloads", name)
            pipeline.hdel(f"{_ROOT}:tries", name)
            await pipeline.execute()

    async def waiting(self) -> int:
        return int(await self._redis.zcard(f"{_ROOT}:due"))

    async def _eval(self, script: str, *arguments: Any) -> Any:
        return await self._pipelined.run("EVAL", script, 1, _ROOT, *arguments)
