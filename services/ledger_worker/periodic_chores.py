"""Chores that the worker repeats beside posting."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from libs.common.storage.mongo.driver import PyMongoError
from libs.common.storage.redis.client import Redis, RedisError
from services.ledger_worker.queue_worker import pause

log = structlog.get_logger(__name__)


async def repeat_chore(
    chore: str, work: Callable[[], Awaitable[Any]], stop: asyncio.Event, *, every_s: float
) -> None:
    """Until `stop`; `every_s` of 0 disables the chore. The next run retries a failed one."""
    while every_s > 0 and not stop.is_set():
        await run_chore(chore, work)
        await pause(stop, every_s)


async def take_turn(
    redis: Redis, chore: str, work: Callable[[], Awaitable[Any]], *, every_s: float
) -> None:
    """Does the work, unless a worker has within nearly `every_s`: for what takes longer the more
    accounts there are.
    """
    turn_ms = max(int(every_s * 900), 1)
    if await redis.set(f"gateway:worker:{chore}", b"taken", nx=True, px=turn_ms):
        await work()


async def run_chore(chore: str, work: Callable[[], Awaitable[Any]]) -> None:
    """Runs the chore once. A failure of one chore does not end the others."""
    try:
        await work()
    except (RedisError, PyMongoError, OSError) as error:
        log.warning("chore.postponed", chore=chore, error=error)
    except Exception:
        log.exception("chore.failed", chore=chore)
