"""Opens the Redis client, with explicit timeouts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from libs.common.storage.redis.answers import answers_of, first_answer
from libs.common.storage.redis.cluster import ClusterPool
from libs.common.storage.redis.cluster_client import Routed
from libs.common.storage.redis.key_slots import slot_of
from libs.common.storage.redis.master import server_pool
from libs.common.storage.redis.sentinel import open_master_pool
from libs.common.storage.redis.url import (
    is_cluster_url,
    is_sentinel_url,
    parse_cluster_url,
    parse_sentinel_url,
)
from libs.common.tasks import running

__all__ = [
    "NoScriptError",
    "OutOfMemoryError",
    "Redis",
    "RedisError",
    "ResponseError",
    "memory_ratio",
    "names_at_nodes",
    "nodes_of",
    "open_redis",
]

_CONNECT_TIMEOUT_S = 1.0
# Commits wait for the append-only file's fsync, which a busy disk can delay.
_COMMAND_TIMEOUT_S = 3.0
_POOL_WAIT_S = 2.0


@asynccontextmanager
async def open_redis(url: str, *, max_connections: int = 50) -> AsyncIterator[Redis]:
    """Connects lazily. Replies are bytes. A command waits `_POOL_WAIT_S` for a connection.

    `max_connections` are to each server.
    """
    options = {
        "max_connections": max_connections,
        "timeout": _POOL_WAIT_S,
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "socket_timeout": _COMMAND_TIMEOUT_S,
        "health_check_interval": 30,
    }
    async with _open_client(url, options) as client:
        try:
            yield client
        finally:
            await client.aclose()


async def nodes_of(redis: Redis) -> list[Redis]:
    """A client for each master of a cluster, or for the only server."""
    return await redis.nodes() if isinstance(redis, Routed) else [redis]


async def names_at_nodes(redis: Redis, key: str) -> list[str]:
    """A name of the key for each master that serves shards; on a single server, the key itself."""
    cluster = redis.connection_pool
    if not isinstance(cluster, ClusterPool):
        return [key]
    names = [cluster.shards.name(key, shard) for shard in range(cluster.shards.count)]
    await cluster.masters()
    # Of the map that is known: a new one may take as long as a silent master.
    slots = cluster.nodes.slots
    return list({slots[slot_of(name)]: name for name in names}.values())


async def memory_ratio(redis: Redis) -> float:
    """The used share of `maxmemory`, of the fullest server; 0 without a limit. At 1, Redis rejects
    commands. A cluster's node that is away does not count, unless all are.
    """
    nodes = await nodes_of(redis)
    ratios = await answers_of(map(_memory_ratio, nodes))
    known = [ratio for ratio in ratios if isinstance(ratio, float)]
    return max(known) if known else first_answer(ratios)


async def _memory_ratio(redis: Redis) -> float:
    memory = await redis.info("memory")
    limit = int(memory.get("maxmemory", 0))
    return int(memory["used_memory"]) / limit if limit else 0.0


@asynccontextmanager
async def _open_client(url: str, options: dict[str, Any]) -> AsyncIterator[Redis]:
    if is_cluster_url(url):
        async with _open_cluster(ClusterPool(parse_cluster_url(url), **options)) as cluster:
            yield Routed(connection_pool=cluster)
    elif is_sentinel_url(url):
        async with open_master_pool(parse_sentinel_url(url), **options) as masters:
            yield Redis(connection_pool=masters)
    else:
        pool = server_pool(url, **options)
        try:
            yield Redis(connection_pool=pool)
        finally:
            await pool.disconnect()


@asynccontextmanager
async def _open_cluster(cluster: ClusterPool) -> AsyncIterator[ClusterPool]:
    try:
        async with running(cluster.nodes.follow()):
            yield cluster
    finally:
        await cluster.nodes.close()
