"""Leases on the MongoDB sessions that post to the ledger.

A killed process leaves its transaction open, and MongoDB keeps the documents that it wrote locked
for a minute, which would stop the posting of a busy account. Once a process's lease has expired,
the others kill its session. A live process whose session is killed by mistake loses one try.
"""

from collections.abc import Sequence
from uuid import UUID

from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.scripts import ALLOW_OOM, run_once

_KEY = "gateway:posting-sessions"
# How many expired sessions are killed at a time.
_MAX_EXPIRED = 100
# Answers with the sessions whose lease has expired. A full Redis runs it too: posting frees its
# memory. KEYS: the leases. ARGV: a session, its lease in ms, and how many to answer with.
_RENEW = (
    ALLOW_OOM
    + """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms + ARGV[2]), ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, ARGV[3])
"""
)


class SessionLeases:
    """Uses the clock of the server that has the key, so that no clocks need to agree."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def renew(self, session_id: UUID, *, lease_ms: int) -> list[UUID]:
        """Returns sessions whose lease has expired."""
        arguments = (session_id.hex, lease_ms, _MAX_EXPIRED)
        ids = await run_once(self._redis, _RENEW, [_KEY], *arguments)
        return [UUID(hex=id_.decode()) for id_ in ids]

    async def release(self, session_ids: Sequence[UUID]) -> None:
        await self._redis.zrem(_KEY, *(id_.hex for id_ in session_ids))
