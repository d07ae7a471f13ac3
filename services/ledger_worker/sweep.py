"""Turns the calls of gateways that died into `abandoned` entries.

A hold whose lease has expired keeps the event of its call. The sweep enqueues those events again
until they are posted; posting is idempotent.
"""

import asyncio

import structlog

from libs.common.storage.queue.event_queue import enqueue_swept, queues_of
from libs.common.storage.redis.client import Redis, RedisError
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.scripts import ALLOW_OOM, run_once
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.queue_worker import pause

_TURN = "gateway:worker:sweep"
# A full Redis grants it too, since sweeping frees memory. KEYS: the turn. ARGV: its length in ms.
_TAKE_TURN = ALLOW_OOM + "return redis.call('SET', KEYS[1], 'taken', 'NX', 'PX', ARGV[1])"
# Per account and round; the rest wait for the next round.
_MAX_EVENTS = 200
_SHARDS_AT_ONCE = 16
# Accounts whose scripts share a round trip; Redis serves no other client while they run.
_SWEPT_AT_ONCE = 50

log = structlog.get_logger(__name__)


async def keep_sweeping(
    redis: Redis, holds: HoldStore, metrics: Metrics, stop: asyncio.Event, *, every_s: float
) -> None:
    """Until `stop`. A shard's round is one worker's; two that overlap do no harm."""
    turn_ms, count = max(int(every_s * 900), 1), holds.shards.count
    while not stop.is_set():
        for start in range(0, count, _SHARDS_AT_ONCE):
            shards = range(start, min(start + _SHARDS_AT_ONCE, count))
            await asyncio.gather(
                *(_take_turn(redis, holds, metrics, shard, turn_ms) for shard in shards)
            )
        await pause(stop, every_s)


async def _take_turn(
    redis: Redis, holds: HoldStore, metrics: Metrics, shard: int, turn_ms: int
) -> None:
    try:
        if await run_once(redis, _TAKE_TURN, (holds.shards.name(_TURN, shard),), turn_ms):
            await sweep_all(redis, holds, metrics, shard)
    except (RedisError, OSError) as error:
        # The shards of other servers do not wait for it.
        log.warning("sweep.postponed", shard=shard, error=error)


async def sweep_all(redis: Redis, holds: HoldStore, metrics: Metrics, shard: int) -> None:
    """Noted accounts of the shard that may have holds, and no others."""
    async for accounts in holds.accounts_to_sweep(shard):
        for start in range(0, len(accounts), _SWEPT_AT_ONCE):
            users = accounts[start : start + _SWEPT_AT_ONCE]
            await asyncio.gather(*(sweep(redis, holds, metrics, user) for user in users))


async def sweep(redis: Redis, holds: HoldStore, metrics: Metrics, user_id: str) -> int:
    """Returns how many abandoned calls of the account it found."""
    events = await holds.sweep(user_id, limit=_MAX_EVENTS)
    if events:
        log.warning("calls.abandoned", user_id=user_id, calls=len(events))
        metrics.abandoned.inc(len(events))
        queue = queues_of(holds.shards)[holds.shards.of(user_id)]
        await enqueue_swept(redis, queue, events)
    return len(events)
