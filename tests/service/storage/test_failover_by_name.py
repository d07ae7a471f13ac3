"""Two real servers behind one name: a plain URL follows a failover that closes no connection."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from libs.common.schemas.invalidation import Invalidation
from libs.common.storage.redis.client import Redis, RedisError, open_redis
from libs.common.storage.redis.invalidation import listen, publish
from libs.common.storage.redis.pipelining import Pipelined, Transaction
from services.ledger_worker.queue_redis import QueueRedis
from tests.servers import HOST, ServerProcess, redis_server, running
from tests.service.storage.masters import WAYS, WRITE, Name, Write, emptied, plainly, tell

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, ...]]:
    first = redis_server(tmp_path_factory.mktemp("first"))
    second = redis_server(tmp_path_factory.mktemp("second"), "--repl-diskless-sync-delay", "0")
    with running(first), running(second):
        yield first, second


@pytest.fixture
def second(servers: tuple[ServerProcess, ...]) -> ServerProcess:
    return emptied(servers[1])


@pytest.fixture
async def name(servers: tuple[ServerProcess, ...]) -> AsyncIterator[Name]:
    async with Name.of(emptied(servers[0])) as name:
        yield name


def demote(name: Name, second: ServerProcess) -> None:
    name.fail_over(second)


def isolate(name: Name, second: ServerProcess) -> None:
    tell(name.server, "CONFIG", "SET", "min-replicas-to-write", "1")
    name.server = second


LOSSES = [demote, isolate]
Lose = Callable[[Name, ServerProcess], None]


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("write", WAYS)
async def test_the_first_write_leaves_for_the_new_master(
    name: Name, second: ServerProcess, write: Write, lose: Lose
) -> None:
    async with open_redis(name.url) as redis:
        await write(redis)
        lose(name, second)
        with pytest.raises(RedisConnectionError):
            await write(redis)
        await write(redis)
    assert tell(second, "GET", "key") == b"new"


async def by_a_command(pipelined: Pipelined) -> None:
    await pipelined.run("EVAL", WRITE, 1, "key", "new")


async def by_a_transaction(pipelined: Pipelined) -> None:
    """A script in it is rejected only as the transaction runs."""
    transaction = Transaction()
    transaction.execute_command("EVAL", WRITE, 1, "key", "new")
    await pipelined.transact(transaction)


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("write", [by_a_command, by_a_transaction])
async def test_kept_connections_leave_too(
    name: Name, second: ServerProcess, write: Callable[[Pipelined], object], lose: Lose
) -> None:
    async with open_redis(name.url) as redis:
        pipelined = Pipelined(redis)
        await write(pipelined)  # type: ignore[misc]
        lose(name, second)
        with pytest.raises(RedisError):
            await write(pipelined)  # type: ignore[misc]
        await write(pipelined)  # type: ignore[misc]
    assert tell(second, "GET", "key") == b"new"


@pytest.mark.parametrize("lose", LOSSES)
async def test_the_queues_joined_transactions_leave_too(
    name: Name, second: ServerProcess, lose: Lose
) -> None:
    """Their script goes on after an error, and answers with it."""

    async def write(queue: QueueRedis) -> None:
        async with queue.pipeline(transaction=True) as pipeline:
            pipeline.set("key", "new")
            await pipeline.execute()

    async with open_redis(name.url) as redis:
        queue = QueueRedis(redis.connection_pool)
        await write(queue)
        lose(name, second)
        with pytest.raises(RedisConnectionError):
            await write(queue)
        await write(queue)
    assert tell(second, "GET", "key") == b"new"


@pytest.mark.parametrize("lose", LOSSES)
async def test_the_queues_claims_leave_too(name: Name, second: ServerProcess, lose: Lose) -> None:
    async with open_redis(name.url) as redis:
        queue = QueueRedis(redis.connection_pool)

        async def claim() -> list[str]:
            jobs = await queue.claim(room=1, room_bytes=1, look_at=1, now_ms=2, lease_ms=60_000)
            return [job.job_id for job in jobs]

        tell(name.server, "ZADD", queue.default_queue_name, "1", "old")
        assert await claim() == ["old"]
        lose(name, second)
        tell(second, "DEL", queue.default_queue_name)
        tell(second, "ZADD", queue.default_queue_name, "1", "new")
        with pytest.raises(RedisError):
            await claim()
        assert await claim() == ["new"]


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("kept", [True, False], ids=["a kept connection", "the pool"])
async def test_a_subscriber_leaves_with_the_first_write(
    name: Name, second: ServerProcess, lose: Lose, kept: bool
) -> None:
    """It gets no error itself, and an isolated master would never tell it anything."""
    subscribed, queue = asyncio.Queue[None](), asyncio.Queue[Invalidation]()
    async with open_redis(name.url) as redis, asyncio.timeout(20):
        pipelined = Pipelined(redis)
        await pipelined.run("SET", "key", "old")
        listening = asyncio.create_task(
            listen(redis, queue.put_nowait, lambda: subscribed.put_nowait(None), reconnect_s=0.01)
        )
        await subscribed.get()
        await plainly(redis)
        lose(name, second)
        with pytest.raises(RedisError):
            await (pipelined.run("SET", "key", "new") if kept else plainly(redis))
        with suppress(RedisError):
            # Its connection may be closing.
            await pipelined.run("SET", "key", "new")
        await pipelined.run("SET", "key", "new")
        await subscribed.get()
        async with open_redis(second.url) as admin:
            await publish(admin, Invalidation(kind="key", id="k"))
        assert (await queue.get()).id == "k"
        listening.cancel()
        await asyncio.wait({listening})


async def test_reads_leave_a_replica_that_has_lost_its_master(
    name: Name, second: ServerProcess
) -> None:
    """MASTERDOWN: one that is told not to serve what may be old."""
    first = name.server
    tell(first, "CONFIG", "SET", "replica-serve-stale-data", "no")
    try:
        async with open_redis(name.url) as redis:
            await redis.get("key")
            # Port 1 has no server.
            tell(first, "REPLICAOF", HOST, "1")
            name.server = second
            with pytest.raises(RedisConnectionError, match="MASTERDOWN"):
                await redis.get("key")
            await plainly(redis)
        assert tell(second, "GET", "key") == b"new"
    finally:
        tell(first, "CONFIG", "SET", "replica-serve-stale-data", "yes")


@pytest.mark.parametrize("protocol", ["", "?protocol=3"])
async def test_a_replica_is_not_read_while_the_name_points_to_it(
    name: Name, second: ServerProcess, protocol: str
) -> None:
    tell(name.server, "REPLICAOF", HOST, str(second.port))
    async with open_redis(name.url + protocol) as redis:
        with pytest.raises(RedisConnectionError, match="is not a master"):
            await redis.get("key")
        name.server = second
        assert await redis.get("key") is None


async def test_a_lone_master_does_not_close_all_connections_at_each_write(
    name: Name, second: ServerProcess
) -> None:
    """It lost its replicas and rejects every write; others may go on reading."""
    tell(name.server, "CONFIG", "SET", "min-replicas-to-write", "1")
    async with open_redis(name.url) as redis:
        with pytest.raises(RedisConnectionError):
            await plainly(redis)
        reader = await redis.connection_pool.get_connection()
        with pytest.raises(RedisConnectionError):
            await plainly(redis)
        assert reader.is_connected
        await redis.connection_pool.release(reader)


async def test_other_errors_close_nothing(name: Name) -> None:
    async with open_redis(name.url) as redis:
        await redis.set("text", "x")
        connection: Redis = redis.client()
        async with connection:
            before = await connection.client_id()
            with pytest.raises(ResponseError):
                await connection.incr("text")
            assert await connection.client_id() == before
