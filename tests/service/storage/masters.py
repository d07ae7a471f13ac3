"""A test that plays Sentinel, or a name service: it says which of its servers is the master."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis import Redis as BlockingRedis
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel

from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.sentinel import MasterConnection, NamedMasterPool
from tests.sentinels import MASTER
from tests.servers import HOST, ServerProcess

WRITE = "return redis.call('SET', KEYS[1], ARGV[1])"


async def plainly(redis: Redis) -> None:
    await redis.set("key", "new")


async def in_a_transaction(redis: Redis) -> None:
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.set("key", "new")
        await pipeline.execute()


async def in_a_pipeline(redis: Redis) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.set("key", "new")
        await pipeline.execute()


async def by_a_script(redis: Redis) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.eval(WRITE, 1, "key", "new")
        await pipeline.execute()


WAYS = [plainly, in_a_transaction, in_a_pipeline, by_a_script]
Write = Callable[[Redis], Awaitable[None]]


class Name:
    """A host name that a failover points to another server; open connections stay where they are.

    `url` is what REDIS_URL says.
    """

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def of(cls, server: ServerProcess) -> AsyncIterator["Name"]:
        name = cls(server)
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection(HOST, name.server.port)
            for ends in ((reader, back), (there, writer)):
                task = asyncio.create_task(_copy(*ends))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        listener = await asyncio.start_server(serve, HOST, 0)
        async with listener:
            name.url = f"redis://{HOST}:{listener.sockets[0].getsockname()[1]}/0"
            yield name
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def fail_over(self, to: ServerProcess) -> None:
        """As a managed service does: promotes, demotes, then moves the name."""
        tell(to, "REPLICAOF", "NO", "ONE")
        tell(self.server, "REPLICAOF", HOST, str(to.port))
        self.server = to


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except OSError:
        pass
    finally:
        writer.transport.abort()


class Word(Sentinel):
    """A Sentinel that knows `master`, or none where it is None; `lookups` counts the questions."""

    def __init__(self, master: ServerProcess) -> None:
        self.master: ServerProcess | None = master
        self.lookups = 0

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        self.lookups += 1
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
    pool = NamedMasterPool(MASTER, word, connection_class=MasterConnection, **options)
    try:
        yield Redis(connection_pool=pool)
    finally:
        await pool.disconnect()


def pool_of(redis: Redis) -> NamedMasterPool:
    assert isinstance(redis.connection_pool, NamedMasterPool)
    return redis.connection_pool
