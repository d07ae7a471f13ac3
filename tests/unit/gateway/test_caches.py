"""What the gateway's caches do when MongoDB does not answer."""

import asyncio
from typing import Any

import pytest

from libs.common.breaker import Breaker
from libs.common.cache import SourceAway
from libs.common.settings import Secret
from services.gateway.directory.caches import DATABASE_AWAY, Caches
from services.gateway.settings import Settings


class Source:
    """Answers at once, or never."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = False

    async def load(self, key: str) -> str:
        self.asked.append(key)
        if not self.answers:
            await asyncio.Event().wait()
        return f"value of {key}"


@pytest.fixture
def source() -> Source:
    return Source()


def caches(*, load_timeout_s: float) -> Caches:
    pipelined: Any = None
    settings = Settings(mongo_uri=Secret("mongodb://host/db"), redis_url=Secret("redis://host"))
    return Caches(pipelined, Breaker(1.0), settings, load_timeout_s=load_timeout_s)


async def test_a_source_that_never_answers_is_unavailable(source: Source) -> None:
    """All that are not waited for are spared the wait, in whichever cache."""
    made = caches(load_timeout_s=0.01)
    one, other = made.in_memory(source.load), made.in_memory(source.load)

    with pytest.raises(DATABASE_AWAY):
        await one.get("a")
    for cache in (one, other):
        with pytest.raises(SourceAway):
            await cache.get("b")

    assert source.asked == ["a"]


async def test_a_cached_value_is_served_while_the_source_never_answers(source: Source) -> None:
    source.answers = True
    cache = caches(load_timeout_s=0.01).in_memory(source.load)
    await cache.get("a")
    source.answers = False

    assert await cache.get("a") == "value of a"


async def test_a_source_that_answers_in_time_is_used(source: Source) -> None:
    source.answers = True
    cache = caches(load_timeout_s=60).in_memory(source.load)
    assert await cache.get("a") == "value of a"
