"""What the gateway's caches do when MongoDB does not answer."""

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY

from libs.common.breaker import Breaker
from libs.common.cache import SourceAway
from libs.common.settings import Secret
from services.gateway.directory.caches import DATABASE_AWAY, Caches
from services.gateway.settings import Settings


class Source:
    """Answers at once, or never."""

    def __init__(self) -> None:
        self.loaded_keys: list[str] = []
        self.answers = False

    async def load(self, key: str) -> str:
        self.loaded_keys.append(key)
        if not self.answers:
            await asyncio.Event().wait()
        return f"value of {key}"


@pytest.fixture
def source() -> Source:
    return Source()


def new_caches(*, load_timeout_s: float) -> Caches:
    pipelined: Any = None
    settings = Settings(mongo_uri=Secret("mongodb://host/db"), redis_url=Secret("redis://host"))
    return Caches(pipelined, Breaker(1.0), settings, load_timeout_s=load_timeout_s)


async def test_a_source_that_never_answers_is_unavailable(source: Source) -> None:
    """All that are not waited for are spared the wait, in whichever cache."""
    caches = new_caches(load_timeout_s=0.01)
    one, other = caches.in_memory("key", source.load), caches.in_memory("key", source.load)

    with pytest.raises(DATABASE_AWAY):
        await one.get("a")
    for cache in (one, other):
        with pytest.raises(SourceAway):
            await cache.get("b")

    assert source.loaded_keys == ["a"]


async def test_a_cached_value_is_served_while_the_source_never_answers(source: Source) -> None:
    source.answers = True
    cache = new_caches(load_timeout_s=0.01).in_memory("key", source.load)
    await cache.get("a")
    source.answers = False

    assert await cache.get("a") == "value of a"


async def test_a_source_that_answers_in_time_is_used(source: Source) -> None:
    source.answers = True
    cache = new_caches(load_timeout_s=60).in_memory("key", source.load)
    assert await cache.get("a") == "value of a"


async def test_lookups_and_the_breaker_show_in_the_metrics(source: Source) -> None:
    def lookups(kind: str, result: str) -> float:
        labels = {"cache": kind, "result": result}
        return REGISTRY.get_sample_value("gateway_cache_lookups_total", labels) or 0.0

    def breaker() -> float | None:
        return REGISTRY.get_sample_value("gateway_breaker_open", {"breaker": "mongo"})

    caches = new_caches(load_timeout_s=0.01)
    keys, prices = caches.in_memory("key", source.load), caches.in_memory("price", source.load)
    before = {each: lookups(*each) for each in (("key", "hit"), ("key", "miss"))}
    prices_before = lookups("price", "miss")
    source.answers = True
    for _ in range(3):
        await keys.get("a")
    assert breaker() == 0
    source.answers = False
    with pytest.raises(SourceAway):
        await prices.get("b")

    caches.report()
    caches.report()
    assert lookups("key", "hit") - before["key", "hit"] == 2
    assert lookups("key", "miss") - before["key", "miss"] == 1
    assert lookups("price", "miss") - prices_before == 1
    assert breaker() == 1
