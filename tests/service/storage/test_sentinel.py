"""Two real servers; the test plays Sentinel, and says which of them is the master."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import ConnectionError as RedisConnectionError

from libs.common.storage.redis.client import RedisError, open_redis
from libs.common.storage.redis.pipelining import Pipelined
from tests.sentinels import MASTER, sentinel_server
from tests.servers import HOST, ServerProcess, free_port, redis_server, running
from tests.service.storage.masters import (
    WAYS,
    WRITE,
    Word,
    Write,
    by_a_script,
    emptied,
    opened,
    plainly,
    pool_of,
    tell,
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, ...]]:
    first = redis_server(tmp_path_factory.mktemp("first"))
    second = redis_server(tmp_path_factory.mktemp("second"), "--repl-diskless-sync-delay", "0")
    with running(first), running(second):
        yield first, second


@pytest.fixture
def first(servers: tuple[ServerProcess, ...]) -> ServerProcess:
    return emptied(servers[0])


@pytest.fixture
def second(servers: tuple[ServerProcess, ...]) -> ServerProcess:
    return emptied(servers[1])


@pytest.mark.parametrize("write", WAYS)
async def test_the_first_write_leaves_a_demoted_master(
    first: ServerProcess, second: ServerProcess, write: Write
) -> None:
    word = Word(first)
    async with opened(word) as redis:
        await write(redis)
        # By hand, which leaves the connections open.
        tell(first, "REPLICAOF", HOST, str(second.port))
        word.master = second
        with pytest.raises(RedisConnectionError):
            await write(redis)
        await write(redis)
    assert tell(second, "GET", "key") == b"new"


def demote(first: ServerProcess, second: ServerProcess) -> None:
    tell(first, "REPLICAOF", HOST, str(second.port))


def isolate(first: ServerProcess, second: ServerProcess) -> None:
    tell(first, "CONFIG", "SET", "min-replicas-to-write", "1")


@pytest.mark.parametrize("lose", [demote, isolate])
async def test_kept_connections_leave_a_master_too(
    first: ServerProcess,
    second: ServerProcess,
    lose: Callable[[ServerProcess, ServerProcess], None],
) -> None:
    """Those of admissions and commits."""
    word = Word(first)
    async with opened(word) as redis:
        pipelined = Pipelined(redis)
        await pipelined.run("EVAL", WRITE, 1, "key", "old")
        lose(first, second)
        word.master = second
        with pytest.raises(RedisError):
            await pipelined.run("EVAL", WRITE, 1, "key", "new")
        await pipelined.run("EVAL", WRITE, 1, "key", "new")
    assert tell(second, "GET", "key") == b"new"


@pytest.mark.parametrize("write", WAYS)
async def test_a_master_without_replicas_is_looked_up_again(
    first: ServerProcess, second: ServerProcess, write: Write
) -> None:
    """It is on the wrong side of a partition, and refuses writes for that."""
    word = Word(first)
    async with opened(word) as redis:
        await redis.ping()
        tell(first, "CONFIG", "SET", "min-replicas-to-write", "1")
        word.master = second
        with pytest.raises(RedisConnectionError):
            await write(redis)
        await write(redis)
    assert tell(second, "GET", "key") == b"new"


async def test_before_redis_7_a_scripts_error_contains_readonly(
    first: ServerProcess, second: ServerProcess
) -> None:
    word = Word(first)
    refusal = "ERR Error running script (call to f_0): @user_script: 1: -READONLY You cannot write"
    async with opened(word) as redis, redis.pipeline(transaction=False) as pipeline:
        pipeline.eval("return redis.error_reply(ARGV[1])", 0, refusal)
        with pytest.raises(RedisConnectionError, match="not be the master"):
            await pipeline.execute()
        word.master = second
        await by_a_script(redis)
    assert tell(second, "GET", "key") == b"new"


async def test_replicas_are_not_read(first: ServerProcess, second: ServerProcess) -> None:
    tell(first, "REPLICAOF", HOST, str(second.port))
    async with opened(Word(first)) as redis:
        with pytest.raises(RedisConnectionError, match="is not a master"):
            await redis.get("key")


async def test_idle_connections_leave_a_master_that_was_replaced(
    first: ServerProcess, second: ServerProcess
) -> None:
    """Found out by whoever opens a connection; the old master would still take their writes."""
    word = Word(first)
    async with opened(word) as redis:
        await redis.set("key", "old")
        word.master = second
        await pool_of(redis).get_master_address()
        await redis.set("key", "new")
    assert (tell(first, "GET", "key"), tell(second, "GET", "key")) == (b"old", b"new")


async def test_kept_connections_leave_a_master_that_was_replaced(
    first: ServerProcess, second: ServerProcess
) -> None:
    word = Word(first)
    async with opened(word) as redis:
        pipelined = Pipelined(redis)
        await pipelined.run("SET", "key", "old")
        word.master = second
        await pool_of(redis).get_master_address()
        with suppress(RedisError):
            await pipelined.run("SET", "key", "new")
        await pipelined.run("SET", "key", "new")
    assert (tell(first, "GET", "key"), tell(second, "GET", "key")) == (b"old", b"new")


async def test_calls_under_way_leave_a_master_that_was_replaced(
    first: ServerProcess, second: ServerProcess
) -> None:
    """It was cut off from Sentinel, not from us, so that nothing else would end them."""
    word = Word(first)
    async with opened(word) as redis:
        connection = await pool_of(redis).get_connection()
        await connection.send_command("BLPOP", "list", "0")
        waiting = asyncio.create_task(connection.read_response())
        following = asyncio.create_task(pool_of(redis).follow())
        try:
            async with asyncio.timeout(10):
                word.master = None
                while b"cmd=blpop" not in tell(first, "CLIENT", "LIST") or word.lookups < 3:
                    await asyncio.sleep(0.01)
                assert not waiting.done(), "without sentinels it is still the master"
                word.master = second
                with pytest.raises(RedisConnectionError):
                    await waiting
                await pool_of(redis).release(connection)
                await redis.set("key", "new")
        finally:
            following.cancel()
            await asyncio.wait({following})
    assert tell(second, "GET", "key") == b"new"


async def test_waiting_callers_share_one_lookup(first: ServerProcess) -> None:
    word = Word(first)
    async with opened(word, max_connections=10) as redis:
        await asyncio.gather(*(redis.ping() for _ in range(10)))
        assert len(redis.connection_pool._available_connections) == 10
        assert word.lookups == 1
    word = Word(first)
    word.master = None
    async with opened(word, max_connections=10) as redis:
        answers = await asyncio.gather(*(redis.ping() for _ in range(10)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {MasterNotFoundError}
    assert word.lookups == 1


async def test_connections_and_the_wait_for_one_are_bounded(first: ServerProcess) -> None:
    async with opened(Word(first), max_connections=1) as redis:
        held = await redis.connection_pool.get_connection()
        with pytest.raises(RedisConnectionError, match="No connection available"):
            await redis.ping()
        waiting = asyncio.create_task(plainly(redis))
        await asyncio.sleep(0)
        await redis.connection_pool.release(held)
        await waiting
    assert tell(first, "GET", "key") == b"new"


async def test_the_url_sets_passwords_and_database(tmp_path: Path) -> None:
    """A real sentinel, with a password of its own; another one is down."""
    for name in ("server", "sentinel"):
        (tmp_path / name).mkdir()
    server = redis_server(tmp_path / "server", "--requirepass", "servers")
    sentinel = sentinel_server(
        tmp_path / "sentinel",
        server.port,
        "requirepass watchers",
        f"sentinel auth-pass {MASTER} servers",
        quorum=1,
    )
    hosts = f"{HOST}:{free_port()},{HOST}:{sentinel.port}"
    with running(server), running(sentinel):
        url = f"redis+sentinel://:servers@{hosts}/{MASTER}/3?sentinel_password="
        async with open_redis(url + "watchers") as redis:
            await redis.set("key", "value")
            assert (await redis.client_info())["db"] == 3
        async with open_redis(url + "wrong") as redis:
            with pytest.raises(RedisError):
                await redis.get("key")
        async with open_redis((url + "watchers").replace(MASTER, "another")) as redis:
            with pytest.raises(MasterNotFoundError, match="another"):
                await redis.get("key")
