"""The worker's health key, and the check of it that probes run.

Probes run the check every few seconds, so this module imports nothing heavy.
"""

import asyncio
from collections.abc import Sequence
from socket import gethostname

import msgspec

from libs.common.settings import Secret
from libs.common.storage.redis.client import Redis, RedisError, open_redis
from libs.common.storage.redis.shards import Shards, shards_of
from libs.common.storage.redis.url import check_redis_url

# The worker renews its key at this interval, and the key lives one second longer.
HEALTH_INTERVAL_S = 5
_TIMEOUT_S = 3.0


class CheckSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the worker's settings that the check needs."""

    redis_url: Secret
    worker_name: str = ""

    def __post_init__(self) -> None:
        check_redis_url(self.redis_url.reveal())


def health_keys(shards: Shards, worker_name: str) -> list[str]:
    """By shard; the worker renews those of the shards that it works on.

    Each worker has its own: arq's key is shared, so one worker would answer for another.
    """
    key = f"gateway:worker:{worker_name}:health"
    return [shards.name(key, shard) for shard in range(shards.count)]


def fault(settings: CheckSettings) -> str | None:
    """Returns None if the worker is alive, else the fault in one line."""
    name = settings.worker_name or gethostname()
    try:
        alive = asyncio.run(_is_alive(settings.redis_url.reveal(), name))
    except (RedisError, OSError) as error:
        return f"Redis is unavailable: {type(error).__name__}: {error}"
    return None if alive else f"the ledger worker '{name}' is not alive: its health key has expired"


async def _is_alive(redis_url: str, name: str) -> bool:
    async with asyncio.timeout(_TIMEOUT_S), open_redis(redis_url, max_connections=1) as redis:
        checks = [
            asyncio.create_task(_exists(redis, k)) for k in health_keys(shards_of(redis), name)
        ]
        try:
            return await _any_alive(checks)
        finally:
            # All are read, or what they raised is printed at the end.
            for check in checks:
                check.cancel()
            await asyncio.gather(*checks, return_exceptions=True)


async def _exists(redis: Redis, key: str) -> bool:
    return bool(await redis.exists(key))


async def _any_alive(checks: Sequence[asyncio.Task[bool]]) -> bool:
    """Raises the error of a server only if none of the others has a worker's key."""
    fault: Exception | None = None
    for check in asyncio.as_completed(checks):
        try:
            if await check:
                return True
        except (RedisError, OSError) as error:
            # Of one server: the worker may work on the shards of others.
            fault = error
    if fault is not None:
        raise fault
    return False
