"""With its source away, a cache goes on with what it has, for a while, and waits for nobody."""

import asyncio

import pytest

from libs.common.breaker import Breaker
from libs.common.cache import Grace, Loaded, LoadingCache, SourceAway
from tests.support.clock import Clock


class Away(Exception):
    """What the source raises while it is away."""


class Source:
    def __init__(self) -> None:
        self.values: dict[str, str | None] = {"a": "1", "b": "2"}
        self.loads = 0
        self.error: Exception | None = None

    async def load(self, key: str) -> str | None:
        self.loads += 1
        if self.error is not None:
            raise self.error
        return self.values.get(key)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(source: Source, clock: Clock) -> LoadingCache[str]:
    grace = Grace(10, (Away,), Breaker(1.0, clock))
    return LoadingCache(
        source.load, max_items=4, ttl_s=30, negative_ttl_s=5, grace=grace, clock=clock
    )


async def test_an_expired_value_is_served_while_the_source_is_down(
    cache: LoadingCache[str], source: Source, clock: Clock
) -> None:
    await cache.get("a")
    source.error = Away()
    clock.now += 31
    assert await cache.get("a") == "1"
    clock.now += 238
    assert await cache.get("a") == "1"
    assert source.loads == 3


async def test_a_recovered_source_replaces_the_expired_value(
    cache: LoadingCache[str], source: Source, clock: Clock
) -> None:
    await cache.get("a")
    source.error = Away()
    clock.now += 31
    await cache.get("a")
    source.error, source.values["a"] = None, "new"
    clock.now += 1
    assert await cache.get("a") == "new"


async def test_grace_ends(cache: LoadingCache[str], source: Source, clock: Clock) -> None:
    await cache.get("a")
    source.error = Away()
    clock.now += 300
    with pytest.raises(Away):
        await cache.get("a")


async def test_callers_do_not_wait_for_a_source_known_to_be_down(
    cache: LoadingCache[str], source: Source, clock: Clock
) -> None:
    await cache.get("a")
    source.error = Away()
    clock.now += 31
    for _ in range(5):
        assert await cache.get("a") == "1"
    with pytest.raises(SourceAway):
        await cache.get("b")
    assert source.loads == 2
    clock.now += 1
    with pytest.raises(Away):
        await cache.get("b")


@pytest.mark.parametrize("forget", ["drop", "clear"])
async def test_an_invalidated_value_has_no_grace(
    cache: LoadingCache[str], source: Source, forget: str
) -> None:
    await cache.get("a")
    source.error = Away()
    cache.drop("a") if forget == "drop" else cache.clear()
    with pytest.raises(Away):
        await cache.get("a")


async def test_a_load_that_fails_after_an_invalidation_does_not_restore_the_value(
    source: Source, clock: Clock
) -> None:
    gate = asyncio.Event()

    async def load(key: str) -> str | None:
        value = await source.load(key)
        await gate.wait()
        return value

    gate.set()
    grace = Grace(10, (Away,), Breaker(1.0, clock))
    cache = LoadingCache(load, max_items=4, ttl_s=30, negative_ttl_s=5, grace=grace, clock=clock)
    await cache.get("a")
    clock.now += 31
    gate.clear()
    early = asyncio.create_task(cache.get("a"))
    await asyncio.sleep(0)
    cache.drop("a")
    source.error = Away()
    gate.set()
    await early
    with pytest.raises(SourceAway):
        await cache.get("a")


async def test_a_missing_key_has_no_grace(
    cache: LoadingCache[str], source: Source, clock: Clock
) -> None:
    assert await cache.get("none") is None
    source.error = Away()
    clock.now += 5
    with pytest.raises(Away):
        await cache.get("none")


async def test_another_error_does_not_serve_the_expired_value(
    cache: LoadingCache[str], source: Source, clock: Clock
) -> None:
    await cache.get("a")
    source.error = ValueError("undecodable")
    clock.now += 31
    for _ in range(2):
        with pytest.raises(ValueError, match="undecodable"):
            await cache.get("a")


@pytest.mark.parametrize(("age_s", "loads"), [(4.4, 1), (5.0, 2)])
async def test_a_value_can_have_a_shorter_ttl(clock: Clock, age_s: float, loads: int) -> None:
    keys: list[str] = []

    async def load(key: str) -> Loaded[str]:
        keys.append(key)
        return Loaded("1", 5.0)

    cache: LoadingCache[str] = LoadingCache(
        load, max_items=4, ttl_s=30, negative_ttl_s=30, clock=clock
    )
    assert await cache.get("a") == "1"
    clock.now += age_s
    assert await cache.get("a") == "1"
    assert len(keys) == loads
