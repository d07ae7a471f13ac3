"""Pipelining: one write per tick of the loop, and each command has its own result."""

import asyncio
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError

from libs.common.storage.pipelining import Pipelined


class Recorded:
    """A pipeline that says how much it carried, and may fail."""

    def __init__(self, made: Any, redis: "Counting") -> None:
        self._made = made
        self._redis = redis

    async def __aenter__(self) -> "Recorded":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._made.reset()

    def execute_command(self, *command: Any) -> None:
        self._made.execute_command(*command)

    async def execute(self, raise_on_error: bool = True) -> Any:
        self._redis.batches.append(len(self._made))
        if self._redis.error is not None:
            raise self._redis.error
        return await self._made.execute(raise_on_error)


class Counting(FakeAsyncRedis):
    """Counts its pipelines and what each of them carried."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.error: BaseException | None = None

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Any:
        return Recorded(super().pipeline(transaction, shard_hint), self)


@pytest.fixture
async def redis() -> Any:
    redis = Counting()
    yield redis
    await redis.aclose()


@pytest.fixture
def pipelined(redis: Counting) -> Pipelined:
    return Pipelined(redis)


async def test_commands_of_one_tick_share_a_pipeline(redis: Counting, pipelined: Pipelined) -> None:
    results = await asyncio.gather(*(pipelined.run("INCRBY", "n", 1) for _ in range(20)))
    assert results == list(range(1, 21))
    assert await pipelined.run("GET", "n") == b"20"
    assert redis.batches == [20, 1]


async def test_a_pipeline_is_bounded(redis: Counting, pipelined: Pipelined) -> None:
    await asyncio.gather(*(pipelined.run("INCR", "n") for _ in range(1_001)))
    assert redis.batches == [500, 500, 1]


async def test_an_error_reaches_the_one_whose_command_it_was(pipelined: Pipelined) -> None:
    results = await asyncio.gather(
        pipelined.run("SET", "text", "x"),
        pipelined.run("INCR", "text"),
        pipelined.run("GET", "text"),
        return_exceptions=True,
    )
    assert isinstance(results[1], ResponseError)
    assert (results[0], results[2]) == (True, b"x")


async def test_several_of_one_caller_are_in_order(redis: Counting, pipelined: Pipelined) -> None:
    found = await pipelined.run_all(("SET", "a", "1"), ("INCR", "a"), ("GET", "a"))
    assert found == [True, 2, b"2"]
    assert redis.batches == [3]


@pytest.mark.parametrize("error", [ConnectionLost("gone"), OSError("gone")])
async def test_a_lost_connection_reaches_all(
    redis: Counting, pipelined: Pipelined, error: Exception
) -> None:
    redis.error = error
    results = await asyncio.gather(
        *(pipelined.run("INCR", "n") for _ in range(3)), return_exceptions=True
    )
    assert results == [error] * 3
    redis.error = None
    assert await pipelined.run("INCR", "n") == 1


async def test_nobody_waits_for_a_pipeline_that_was_given_up(
    redis: Counting, pipelined: Pipelined
) -> None:
    redis.error = asyncio.CancelledError()
    with pytest.raises(ConnectionError):
        await pipelined.run("INCR", "n")


async def test_one_that_goes_away_does_not_disturb_the_others(pipelined: Pipelined) -> None:
    first = asyncio.create_task(pipelined.run("INCR", "n"))
    second = asyncio.create_task(pipelined.run("INCR", "n"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 2
