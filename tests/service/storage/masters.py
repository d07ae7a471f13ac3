"""A test that plays Sentinel: it says which of its servers is the master."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis import Redis as BlockingRedis
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel

from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.sentinel import MasterConnection, MasterPool
from tests.sentinels import MASTER
from tests.servers import HOST, ServerProcess


class Word(Sentinel):
    """Sentinel's. `asked` counts how often it was wanted; None is that it knows no master."""

    def __init__(self, master: ServerProcess) -> None:
        self.master: ServerProcess | None = master
        self.asked = 0

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        self.asked += 1
        # A question takes a round trip.
        await asyncio.sleep(0)
        if self.master is None:
            raise MasterNotFoundError(service_name)
        return HOST, self.master.port


def emptied(server: ServerProcess) -> ServerProcess:
    """A master again, whatever the last test made of it."""
    tell(server, "REPLICAOF", "NO", "ONE")
    tell(server, "CONFIG", "SET", "min-replicas-to-write", "0")
    tell(server, "FLUSHALL")
    return server


def tell(server: ServerProcess, *command: str) -> Any:
    with BlockingRedis.from_url(server.url) as redis:
        return redis.execute_command(*command)


@asynccontextmanager
async def opened(word: Word, **options: Any) -> AsyncIterator[Redis]:
    """Without the task that follows Sentinel, which tests start where they need it."""
    options = {"max_connections": 2, "timeout": 0.1, **options}
    pool = MasterPool(MASTER, word, connection_class=MasterConnection, **options)
    try:
        yield Redis(connection_pool=pool)
    finally:
        await pool.disconnect()


def pool_of(redis: Redis) -> MasterPool:
    assert isinstance(redis.connection_pool, MasterPool)
    return redis.connection_pool
