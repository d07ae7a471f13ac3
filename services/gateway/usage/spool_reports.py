"""Notes in Redis how long the spool has not been empty, for the worker's alerts.

While Redis is away nothing can be noted, so what ended meanwhile is noted afterwards.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import time

import structlog

from libs.common.storage.redis.client import RedisError
from libs.common.storage.redis.spool_notes import SpoolNote, SpoolNoteStore
from services.gateway.spool.backlog import Backlog

_LOOK_S = 1.0
# A shorter hiccup of Redis is not news.
_LEAST_S = 5.0
_AGAIN_S = 10.0
_MS = 1000

log = structlog.get_logger(__name__)


async def report_spool(
    backlog: Backlog,
    notes: SpoolNoteStore,
    gateway: str,
    *,
    clock: Callable[[], float] = time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Until cancelled."""
    since = until = noted_at = None
    while True:
        await sleep(_LOOK_S)
        now = clock()
        if not backlog.is_empty():
            since, until = since or now, None
        elif since is not None:
            until = until or now
        if since is None:
            continue
        duration_s = (until or now) - since
        is_due = until is not None or noted_at is None or now - noted_at >= _AGAIN_S
        if duration_s >= _LEAST_S and is_due:
            note = SpoolNote(
                gateway=gateway,
                since_ms=round(since * _MS),
                until_ms=None if until is None else round(until * _MS),
                noted_ms=round(now * _MS),
                bytes=backlog.size(),
            )
            try:
                await notes.put(note)
            except (RedisError, OSError) as error:
                log.debug("spool.not_noted", error=error)
                continue
            noted_at = now
        if until is not None:
            since = until = noted_at = None
