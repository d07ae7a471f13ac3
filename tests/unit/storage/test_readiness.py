"""A service is ready while one node of a cluster is, whatever the others do."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from libs.common.storage.readiness import until_one_answers


async def _answers() -> None:
    await asyncio.sleep(0)


async def _is_silent() -> None:
    await asyncio.Event().wait()


async def _is_away() -> None:
    raise RedisConnectionError("away")


async def test_a_silent_node_is_not_waited_for() -> None:
    async with asyncio.timeout(10):
        await until_one_answers([_is_silent(), _is_away(), _answers()])
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


async def test_when_all_are_away_one_says_why() -> None:
    with pytest.raises(RedisConnectionError, match="away"):
        await until_one_answers([_is_away(), _is_away()])
