"""The queue of earlier releases: arq's default one, which every arq application on a Redis shares.

Gateways of an earlier release write to it while services are upgraded, and one that was stopped may
have left jobs. A worker moves those to the queue of this release and leaves all others alone: they
belong to another application. Goes with the next release.
"""

from collections.abc import Callable
from random import randrange

import msgspec
from arq.constants import default_queue_name, in_progress_key_prefix, job_key_prefix

from libs.common.decode_errors import UNREADABLE
from libs.common.storage.queue.event_queue import QUEUE, Job
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.scripts import ALLOW_OOM, run_once

EARLIER_QUEUE = default_queue_name
# Jobs that are looked at in one round trip, and in one turn: another application may have any
# number of them.
_AT_ONCE, _MOST = 100, 10_000
# A job that is under way at a worker of an earlier release ends there. KEYS: the earlier queue, the
# queue, then the in-progress key of each job. ARGV: the jobs' ids.
_MOVE = (
    ALLOW_OOM
    + """
local moved = 0
for n, id in ipairs(ARGV) do
  local due = redis.call('ZSCORE', KEYS[1], id)
  if due and redis.call('EXISTS', KEYS[n + 2]) == 0 then
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZADD', KEYS[2], 'NX', due, id)
    moved = moved + 1
  end
end
return moved
"""
)


async def move_earlier_jobs(
    redis: Redis, *, most: int = _MOST, any_of: Callable[[int], int] = randrange
) -> int:
    """Moves the jobs that this project's services have written. Returns their number.

    Where more than `most` wait, it looks at one part of them, which chance picks. A job that cannot
    be read stays, since nothing tells whose it is.
    """
    parts = max(-(-await redis.zcard(EARLIER_QUEUE) // most), 1)
    moved, start = 0, most * any_of(parts)
    for looked_at in range(0, most, _AT_ONCE):
        size = min(_AT_ONCE, most - looked_at)
        ids = await redis.zrange(EARLIER_QUEUE, start, start + size - 1)
        if not ids:
            break
        jobs = await redis.mget([job_key_prefix.encode() + id_ for id_ in ids])
        ours = [id_ for id_, job in zip(ids, jobs, strict=True) if job and _is_ours(job)]
        count = 0
        if ours:
            keys = [in_progress_key_prefix + id_.decode() for id_ in ours]
            count = int(await run_once(redis, _MOVE, (EARLIER_QUEUE, QUEUE, *keys), *ours))
        moved += count
        start += len(ids) - count
    return moved


def _is_ours(job: bytes) -> bool:
    try:
        msgspec.msgpack.decode(job, type=Job)
    except UNREADABLE:
        return False
    return True
