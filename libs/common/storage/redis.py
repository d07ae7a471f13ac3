"""The Redis client, with every timeout written down."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import NoScriptError, RedisError

__all__ = ["NoScriptError", "Redis", "RedisError", "open_redis"]

_CONNECT_TIMEOUT_S = 1.0
# Commits wait for the append-only file's fsync, which a busy disk can delay.
_COMMAND_TIMEOUT_S = 3.0
_POOL_WAIT_S = 2.0


@asynccontextmanager
async def open_redis(url: str, *, max_connections: int = 50) -> AsyncIterator[Redis]:
    """Connects lazily; answers are bytes. A command waits `_POOL_WAIT_S` for a connection."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=_POOL_WAIT_S,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        socket_timeout=_COMMAND_TIMEOUT_S,
        health_check_interval=30,
    )
    client = Redis(connection_pool=pool)
    try:
        yield client
    finally:
        await client.aclose()
        await pool.disconnect()
