"""What several servers answer together, while some are away or at fault."""

from collections.abc import Awaitable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from libs.common.storage.redis.answers import all_of, answers_of, first_answer

AWAY, SILENT = RedisConnectionError("away"), TimeoutError("silent")


async def _answer(answer: int | Exception) -> int:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _awaitables(*answers: int | Exception) -> list[Awaitable[int]]:
    return [_answer(answer) for answer in answers]


async def test_the_error_of_a_server_stands_for_its_answer() -> None:
    answers = await answers_of(_awaitables(AWAY, 1, SILENT, 2))
    assert answers == [AWAY, 1, SILENT, 2]
    assert first_answer(answers) == 1


async def test_an_internal_fault_is_not_an_answer() -> None:
    with pytest.raises(KeyError, match="ours"):
        await answers_of(_awaitables(1, AWAY, KeyError("ours")))


async def test_all_have_to_answer_where_each_has_a_part() -> None:
    assert await all_of(_awaitables(1, 2)) == [1, 2]
    with pytest.raises(RedisConnectionError, match="away"):
        await all_of(_awaitables(1, AWAY, SILENT))


async def test_silence_of_all_nodes_raises_an_error() -> None:
    with pytest.raises(TimeoutError, match="silent"):
        first_answer(await answers_of(_awaitables(SILENT, AWAY)))
    # A cluster whose slots have all been taken away.
    with pytest.raises(RedisConnectionError, match="no node"):
        first_answer(await answers_of(_awaitables()))
