"""What of an error goes into a log."""

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from libs.common.logging import words_of
from libs.common.storage.redis.client import open_redis


def test_an_errors_message_is_logged() -> None:
    assert words_of(RedisConnectionError("Connection refused.")) == "Connection refused."
    assert words_of(ValueError()) == ""


def test_a_long_message_is_cut() -> None:
    assert words_of(ValueError("x" * 300)) == "x" * 300
    assert words_of(ValueError("x" * 301)) == "x" * 300 + "…"


async def test_a_pipelines_error_hides_the_command() -> None:
    """As redis-py says it, however long the command was."""
    error = ResponseError("OOM command not allowed")
    async with open_redis("redis://localhost") as redis:
        redis.pipeline().annotate_exception(error, 2, [b"SET", b"name", b"of pipeline " * 10_000])
    assert "Command # 2 (SET name" in str(error)
    assert words_of(error) == "('OOM command not allowed',)"


@pytest.mark.parametrize("said", [" of pipeline caused error: a", "b of pipeline caused error: a"])
def test_only_the_cause_is_logged(said: str) -> None:
    assert words_of(ValueError(said)) == "a"
