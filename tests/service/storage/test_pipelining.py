"""Pipelining: every command gets its own answer, and nobody waits for one that cannot come."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.pipelining import Pipelined, Transaction

_HANDSHAKE = {b"CLIENT": b"+OK\r\n", b"PING": b"+PONG\r\n", b"HELLO": b"-ERR unknown command\r\n"}

Answer = Callable[[list[bytes], asyncio.StreamWriter], None]


@pytest.fixture
def pipelined(redis: Redis) -> Pipelined:
    return Pipelined(redis)


async def test_each_command_gets_its_own_reply(pipelined: Pipelined) -> None:
    answers = await asyncio.gather(*(pipelined.run("INCRBY", "n", 1) for _ in range(2_000)))
    assert answers == list(range(1, 2_001))
    assert await pipelined.run("GET", "n") == b"2000"


async def test_an_error_reaches_the_caller_of_its_command(pipelined: Pipelined) -> None:
    answers = await asyncio.gather(
        pipelined.run("SET", "text", "x"),
        pipelined.run("INCR", "text"),
        pipelined.run("GET", "text"),
        return_exceptions=True,
    )
    assert isinstance(answers[1], ResponseError)
    assert (answers[0], answers[2]) == (b"OK", b"x")


async def test_commands_of_one_caller_keep_their_order(pipelined: Pipelined) -> None:
    found = await pipelined.run_all(("SET", "a", "1"), ("INCR", "a"), ("GET", "a"))
    assert found == [b"OK", 2, b"2"]


async def test_an_unknown_script_is_recognized(pipelined: Pipelined) -> None:
    with pytest.raises(NoScriptError):
        await pipelined.run("EVALSHA", "0" * 40, 0)


async def test_a_large_reply_spans_many_reads(pipelined: Pipelined) -> None:
    text = bytes(1024) * 4096
    await pipelined.run("SET", "large", text)
    first, second = await asyncio.gather(pipelined.run("GET", "large"), pipelined.run("PING"))
    assert first == text
    assert second == b"PONG"


async def test_a_transaction_returns_the_replies_of_all_its_commands(pipelined: Pipelined) -> None:
    transaction = Transaction()
    transaction.execute_command("SET", "a", "1")
    transaction.execute_command("INCR", "a")
    other, answers = await asyncio.gather(pipelined.run("PING"), pipelined.transact(transaction))
    assert other == b"PONG"
    assert answers == [b"OK", 2]


async def test_a_transaction_raises_the_error_of_a_command(pipelined: Pipelined) -> None:
    transaction = Transaction()
    transaction.execute_command("SET", "a", "x")
    transaction.execute_command("INCR", "a")
    transaction.execute_command("SET", "b", "1")
    with pytest.raises(ResponseError, match="integer"):
        await pipelined.transact(transaction)
    assert await pipelined.run("GET", "b") == b"1"


async def test_a_refused_transaction_raises_the_cause(pipelined: Pipelined) -> None:
    transaction = Transaction()
    transaction.execute_command("SET", "a", "x")
    transaction.execute_command("NOSUCHCOMMAND")
    with pytest.raises(ResponseError, match="unknown command"):
        await pipelined.transact(transaction)
    assert await pipelined.run("GET", "a") is None


async def test_a_cancelled_caller_does_not_affect_the_others(pipelined: Pipelined) -> None:
    await pipelined.run("PING")
    first = asyncio.ensure_future(pipelined.run("INCR", "n"))
    second = asyncio.ensure_future(pipelined.run("INCR", "n"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 2


def _close(_command: list[bytes], writer: asyncio.StreamWriter) -> None:
    writer.close()


def _be_silent(_command: list[bytes], _writer: asyncio.StreamWriter) -> None:
    pass


def _talk_nonsense(_command: list[bytes], writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def _say_too_much(_command: list[bytes], writer: asyncio.StreamWriter) -> None:
    writer.write(b"+OK\r\n" * 100)


def _refuse_writes(_command: list[bytes], writer: asyncio.StreamWriter) -> None:
    writer.write(b"-READONLY You can't write against a read only replica.\r\n")


def _answer(_command: list[bytes], writer: asyncio.StreamWriter) -> None:
    writer.write(b"+fine\r\n")


@asynccontextmanager
async def _server(*answers: Answer) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Its address, and the commands that came; the n-th connection is answered in the n-th way."""
    commands: list[bytes] = []
    ways = iter(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = next(ways)
        parser = hiredis.Reader()
        while data := await reader.read(65536):
            parser.feed(data)
            while (command := parser.gets()) is not False:
                if command[0] in _HANDSHAKE:
                    writer.write(_HANDSHAKE[command[0]])
                else:
                    commands.append(command[0])
                    answer(command, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"redis://{host}:{port}", commands


FAULTS: list[tuple[Answer, type[RedisError]]] = [
    (_close, RedisConnectionError),
    (_be_silent, RedisTimeoutError),
    (_talk_nonsense, RedisConnectionError),
    (_refuse_writes, ReadOnlyError),
]


@pytest.mark.parametrize(("fault", "error"), FAULTS)
async def test_a_broken_connection_fails_all_waiting_callers_and_is_replaced(
    fault: Answer, error: type[RedisError]
) -> None:
    async with _server(fault, _answer) as (url, _commands), open_redis(url) as redis:
        pipelined = Pipelined(redis, timeout_s=0.2)
        answers: list[Any] = await asyncio.gather(
            *(pipelined.run("GET", "a") for _ in range(3)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [error] * 3
        # What the fault leaves behind must not reach the next connection's callers.
        assert await _until_answered(lambda: pipelined.run("GET", "a")) == b"fine"


async def test_unsolicited_replies_close_the_connection() -> None:
    async with _server(_say_too_much, _answer) as (url, _commands), open_redis(url) as redis:
        pipelined = Pipelined(redis)
        assert await pipelined.run("GET", "a") == b"OK"
        assert await _until_answered(lambda: pipelined.run("GET", "a")) == b"fine"


async def test_an_idle_connection_that_closed_is_replaced() -> None:
    def answer_and_close(command: list[bytes], writer: asyncio.StreamWriter) -> None:
        _answer(command, writer)
        writer.close()

    async with _server(answer_and_close, _answer) as (url, commands), open_redis(url) as redis:
        pipelined = Pipelined(redis)
        assert await pipelined.run("GET", "a") == b"fine"
        assert await _until_answered(lambda: pipelined.run("GET", "a")) == b"fine"
        assert len(commands) >= 2


async def test_all_callers_waiting_for_a_down_server_get_an_error() -> None:
    async with open_redis("redis://127.0.0.1:1") as redis:
        pipelined = Pipelined(redis)
        answers = await asyncio.gather(
            *(pipelined.run("PING") for _ in range(3)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [RedisConnectionError] * 3


LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_connection_closed_on_open_fails_at_once(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """The end may come before those who wait for the connection can use it."""

    async def ask() -> Counter[type]:
        async with _ending_server() as url, open_redis(url) as redis:
            pipelined = Pipelined(redis, timeout_s=0.2)
            replies = [pipelined.run("GET", "a") for _ in range(80)]
            return Counter([type(await _error_of(answer)) for answer in replies])

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(ask()) == {RedisConnectionError: 80}


@pytest.mark.parametrize("new_loop", LOOPS)
def test_commands_of_a_closed_connection_are_not_sent(
    redis_url: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    faults: list[dict[str, Any]] = []

    async def ask() -> list[Any]:
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        async with open_redis(redis_url) as redis:
            pipelined = Pipelined(redis)
            await pipelined.run("GET", "a")
            (connection,) = redis.connection_pool._in_use_connections
            first = asyncio.create_task(_error_of(pipelined.run("BLPOP", "never", 0)))
            await asyncio.sleep(0)
            # In one tick, before the transport tells of its end.
            closing = asyncio.create_task(connection.disconnect(nowait=True))
            second = asyncio.create_task(_error_of(pipelined.run("GET", "a")))
            await closing
            return [await first, await second]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        errors = runner.run(ask())
    assert [type(error) for error in errors] == [RedisConnectionError] * 2
    assert faults == []


@asynccontextmanager
async def _ending_server() -> AsyncIterator[str]:
    """Its address. It ends each connection once that is open, after ever other pauses."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        parser, answered = hiredis.Reader(), 0
        while answered < 2 and (data := await reader.read(65536)):
            parser.feed(data)
            while parser.gets() is not False:
                writer.write(b"+OK\r\n")
                answered += 1
        for _ in range(connections % 8):
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"redis://{host}:{port}"


async def _error_of(answer: Awaitable[Any]) -> Exception | None:
    try:
        await answer
    except Exception as error:  # noqa: BLE001 - which one is what is asked
        return error
    return None


async def test_one_connection_serves_all_callers(redis_url: str) -> None:
    async with open_redis(redis_url) as redis:
        pipelined = Pipelined(redis)
        await asyncio.gather(*(pipelined.run("PING") for _ in range(50)))
        clients = await redis.client_list()
        assert len([client for client in clients if client["cmd"] == "ping"]) == 1


async def _until_answered(ask: Callable[[], Awaitable[Any]]) -> Any:
    """The connection's end may be noticed with the next command only."""
    async with asyncio.timeout(5):
        while True:
            try:
                return await ask()
            except RedisConnectionError:
                await asyncio.sleep(0)
