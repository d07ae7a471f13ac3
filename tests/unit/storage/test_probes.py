"""What Prometheus is told of databases that answer, fail or are silent."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisError

from libs.common.storage.probes import Probes


class Fake:
    """Stands for both databases; each is asked as `readiness` asks it."""

    connection_pool = None

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.exists = self._answer
        self.command = self._answer
        self.find_one = self._answer

    def __getitem__(self, _: str) -> "Fake":
        return self

    async def _answer(self, *_: Any) -> dict[str, str]:
        if self.error is not None:
            raise self.error
        return {"setName": "rs0"}


@pytest.mark.parametrize("error", [RedisError("away"), ConnectionError("away"), TimeoutError()])
async def test_says_which_database_answers(error: Exception) -> None:
    registry = CollectorRegistry()
    probes = Probes("some", registry)
    database, redis = Fake(), Fake()

    def value(name: str, server: str) -> float | None:
        return registry.get_sample_value(f"some_database_{name}", {"database": server})

    probe: Callable[[Any, Any], Awaitable[None]] = probes.probe
    await probe(database, redis)
    assert (value("up", "mongo"), value("up", "redis")) == (1, 1)
    redis.error = error
    await probe(database, redis)
    assert (value("up", "mongo"), value("up", "redis")) == (1, 0)
    # What did not answer has no time.
    assert value("probe_seconds_count", "mongo") == 2
    assert value("probe_seconds_count", "redis") == 1
    redis.error = None
    await probe(database, redis)
    assert value("up", "redis") == 1


async def test_probing_ends_with_its_block() -> None:
    before = asyncio.all_tasks()
    fake: Any = Fake()
    async with Probes("some", CollectorRegistry()).running(fake, fake):
        assert asyncio.all_tasks() != before
    assert asyncio.all_tasks() == before
