"""Combines the answers of several Redis servers, some of which may be away."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

T = TypeVar("T")


async def answers_of(awaitables: Iterable[Awaitable[T]]) -> list[T | RedisError | OSError]:
    """Waits for all. A server's error stands for its answer; any other error is raised."""
    answers: list[T | RedisError | OSError] = []
    for answer in await asyncio.gather(*awaitables, return_exceptions=True):
        if isinstance(answer, BaseException) and not isinstance(answer, RedisError | OSError):
            raise answer
        answers.append(answer)
    return answers


async def all_of(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Waits for all. Raises the first error."""
    answers: list[T] = []
    for answer in await answers_of(awaitables):
        if isinstance(answer, RedisError | OSError):
            raise answer
        answers.append(answer)
    return answers


def first_answer(answers: Sequence[T | RedisError | OSError]) -> T:
    """The first that is not an error. Raises the first error if all are, or nobody was asked."""
    errors: list[RedisError | OSError] = []
    for answer in answers:
        if not isinstance(answer, RedisError | OSError):
            return answer
        errors.append(answer)
    raise errors[0] if errors else RedisConnectionError("no node of the cluster serves a slot")
