"""Opens the Redis client, with explicit timeouts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError

from libs.common.storage.redis.master import MasterPool, server_pool
from libs.common.storage.redis.sentinel import open_master_pool
from libs.common.storage.redis.url import is_sentinel_url, parse_sentinel_url

__all__ = ["NoScriptError", "OutOfMemoryError", "Redis", "RedisError", "memory_ratio", "open_redis"]

_CONNECT_TIMEOUT_S = 1.0
# Commits wait for the append-only file's fsync, which a busy disk can delay.
_COMMAND_TIMEOUT_S = 3.0
_POOL_WAIT_S = 2.0


@asynccontextmanager
async def open_redis(url: str, *, max_connections: int = 50) -> AsyncIterator[Redis]:
    """Connects lazily. Replies are bytes. A command waits `_POOL_WAIT_S` for a connection."""
    options = {
        "max_connections": max_connections,
        "timeout": _POOL_WAIT_S,
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "socket_timeout": _COMMAND_TIMEOUT_S,
        "health_check_interval": 30,
    }
    async with _open_pool(url, options) as pool:
        client = Redis(connection_pool=pool)
        try:
            yield client
        finally:
            await client.aclose()


async def memory_ratio(redis: Redis) -> float:
    """The used share of `maxmemory`; 0 without a limit. At 1, Redis rejects commands."""
    memory = await redis.info("memory")
    limit = int(memory.get("maxmemory", 0))
    return int(memory["used_memory"]) / limit if limit else 0.0


@asynccontextmanager
async def _open_pool(url: str, options: dict[str, Any]) -> AsyncIterator[MasterPool]:
    if is_sentinel_url(url):
        async with open_master_pool(parse_sentinel_url(url), **options) as masters:
            yield masters
        return
    pool = server_pool(url, **options)
    try:
        yield pool
    finally:
        await pool.disconnect()
