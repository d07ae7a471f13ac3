"""A commit that has to be on a replica too, before it counts."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.exceptions import ResponseError

from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.pipelining import NotReplicated, Pipelined, Transaction
from tests.servers import HOST, ServerProcess, redis_server, running
from tests.service.storage.masters import tell
from tests.support.polling import eventually

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, ...]]:
    first = redis_server(tmp_path_factory.mktemp("first"))
    second = redis_server(tmp_path_factory.mktemp("second"), "--repl-diskless-sync-delay", "0")
    with running(first), running(second):
        tell(second, "REPLICAOF", HOST, str(first.port))
        yield first, second


@pytest.fixture
async def master(servers: tuple[ServerProcess, ...]) -> AsyncIterator[Redis]:
    async with open_redis(servers[0].url) as redis:

        async def has_replica() -> bool:
            state = await redis.info("replication")
            return bool(state.get("slave0", {}).get("state") == "online")

        await eventually(has_replica)
        yield redis


def two_commands(key: str) -> Transaction:
    transaction = Transaction()
    transaction.execute_command("SET", key, "1")
    transaction.execute_command("INCR", key)
    return transaction


async def test_an_acknowledged_transaction_is_on_the_replica(
    master: Redis, servers: tuple[ServerProcess, ...]
) -> None:
    pipelined = Pipelined(master, wait_replicas=1)
    for n in range(20):
        assert await pipelined.transact(two_commands(f"key-{n}")) == [b"OK", 2]
        assert tell(servers[1], "GET", f"key-{n}") == b"2"


async def test_too_few_replicas_are_an_error_and_the_master_has_it(
    master: Redis, servers: tuple[ServerProcess, ...]
) -> None:
    pipelined = Pipelined(master, wait_replicas=2)
    with pytest.raises(NotReplicated, match="1 of 2 replicas"):
        await pipelined.transact(two_commands("few"))
    assert tell(servers[0], "GET", "few") == b"2"
    assert await pipelined.run("PING") == b"PONG"


async def test_an_error_of_a_command_comes_first(master: Redis) -> None:
    pipelined = Pipelined(master, wait_replicas=1)
    transaction = Transaction()
    transaction.execute_command("SET", "text", "x")
    transaction.execute_command("INCR", "text")
    with pytest.raises(ResponseError, match="integer"):
        await pipelined.transact(transaction)
