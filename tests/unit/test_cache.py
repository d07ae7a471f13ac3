import asyncio
import gc
from typing import Any

import pytest

from libs.common.cache import LoadingCache
from tests.support.clock import Clock


class Source:
    """What a cache loads from: holds loads up, counts them, and can be told to fail."""

    def __init__(self) -> None:
        self.values: dict[str, str | None] = {"a": "1", "b": "2"}
        self.loads: list[str] = []
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def load(self, key: str) -> str | None:
        self.loads.append(key)
        value, error = self.values.get(key), self.error
        await self.open.wait()
        if error is not None:
            raise error
        return value


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(source: Source, clock: Clock) -> LoadingCache[str]:
    return LoadingCache(source.load, max_items=4, ttl_s=30, negative_ttl_s=5, clock=clock)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def held_up(cache: LoadingCache[str], source: Source, key: str) -> asyncio.Task[str | None]:
    """A caller whose load is under way."""
    source.open.clear()
    task = asyncio.create_task(cache.get(key))
    await settle()
    return task


async def test_a_value_is_loaded_once(cache: LoadingCache[str], source: Source) -> None:
    assert [await cache.get("a"), await cache.get("a")] == ["1", "1"]
    assert source.loads == ["a"]


async def test_concurrent_callers_share_one_load(cache: LoadingCache[str], source: Source) -> None:
    assert await asyncio.gather(*[cache.get("a") for _ in range(20)]) == ["1"] * 20
    assert source.loads == ["a"]


async def test_keys_are_loaded_concurrently(cache: LoadingCache[str], source: Source) -> None:
    first = await held_up(cache, source, "a")
    second = await held_up(cache, source, "b")
    assert source.loads == ["a", "b"]
    source.open.set()
    assert [await first, await second] == ["1", "2"]


@pytest.mark.parametrize(
    ("key", "age_s", "loads"), [("a", 26.9, 1), ("a", 30, 2), ("none", 4.4, 1), ("none", 5, 2)]
)
async def test_a_value_is_kept_for_its_ttl_less_some_jitter(
    cache: LoadingCache[str], source: Source, clock: Clock, key: str, age_s: float, loads: int
) -> None:
    before = await cache.get(key)
    clock.now += age_s
    assert await cache.get(key) == before
    assert len(source.loads) == loads


async def test_values_loaded_together_expire_apart(source: Source, clock: Clock) -> None:
    cache = LoadingCache(source.load, max_items=1_000, ttl_s=30, negative_ttl_s=30, clock=clock)
    keys = [f"key-{n}" for n in range(200)]
    for key in keys:
        await cache.get(key)
    clock.now += 28.5
    source.loads.clear()
    for key in keys:
        await cache.get(key)
    assert 0 < len(source.loads) < 200


async def test_a_missing_key_is_cached(cache: LoadingCache[str], source: Source) -> None:
    assert [await cache.get("none"), await cache.get("none")] == [None, None]
    assert source.loads == ["none"]


async def test_the_cache_is_bounded(cache: LoadingCache[str], source: Source) -> None:
    for n in range(100):
        await cache.get(f"key-{n}")
    source.loads.clear()
    for n in range(100):
        await cache.get(f"key-{n}")
    assert len(source.loads) >= 96


async def test_an_error_reaches_every_caller_and_is_not_cached(
    cache: LoadingCache[str], source: Source
) -> None:
    source.error = ConnectionError("mongo is away")
    results = await asyncio.gather(*[cache.get("a") for _ in range(3)], return_exceptions=True)
    assert results == [source.error] * 3
    assert source.loads == ["a"]
    source.error = None
    assert await cache.get("a") == "1"


@pytest.mark.parametrize("forget", ["drop", "clear"])
async def test_an_invalidated_key_is_loaded_again(
    cache: LoadingCache[str], source: Source, forget: str
) -> None:
    await cache.get("a")
    source.values["a"] = "new"
    cache.drop("a") if forget == "drop" else cache.clear()
    assert await cache.get("a") == "new"


async def test_invalidating_one_key_leaves_the_others(
    cache: LoadingCache[str], source: Source
) -> None:
    await cache.get("a")
    await cache.get("b")
    cache.drop("a")
    cache.drop("unknown")
    await cache.get("b")
    assert source.loads == ["a", "b"]


@pytest.mark.parametrize("forget", ["drop", "clear"])
async def test_a_load_invalidated_under_way_does_not_fill_the_cache(
    cache: LoadingCache[str], source: Source, forget: str
) -> None:
    old = await held_up(cache, source, "a")
    source.values["a"] = "new"
    cache.drop("a") if forget == "drop" else cache.clear()
    source.open.set()
    assert await old == "1"
    assert await cache.get("a") == "new"
    assert source.loads == ["a", "a"]


async def test_a_caller_after_an_invalidation_does_not_join_the_stale_load(
    cache: LoadingCache[str], source: Source
) -> None:
    old = await held_up(cache, source, "a")
    source.values["a"] = "new"
    cache.drop("a")
    new = await held_up(cache, source, "a")
    source.open.set()
    assert [await old, await new] == ["1", "new"]
    assert await cache.get("a") == "new"
    assert source.loads == ["a", "a"]


async def test_a_stale_load_that_ends_last_does_not_overwrite(source: Source) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    values = ["old", "new"]
    starts = iter(range(2))

    async def load(_key: str) -> str:
        turn = next(starts)
        await gates[turn].wait()
        return values[turn]

    cache = LoadingCache(load, max_items=4, ttl_s=30, negative_ttl_s=5)
    old = asyncio.create_task(cache.get("a"))
    await settle()
    cache.drop("a")
    new = asyncio.create_task(cache.get("a"))
    await settle()
    gates[1].set()
    assert await new == "new"
    gates[0].set()
    assert await old == "old"
    assert await cache.get("a") == "new"


async def test_a_stale_load_that_fails_leaves_the_newer_one_alone(
    cache: LoadingCache[str], source: Source
) -> None:
    source.error = ConnectionError("mongo is away")
    old = await held_up(cache, source, "a")
    source.error = None
    cache.drop("a")
    new = await held_up(cache, source, "a")
    source.open.set()
    with pytest.raises(ConnectionError):
        await old
    assert await new == "1"
    assert source.loads == ["a", "a"]


async def test_a_cancelled_caller_does_not_fail_the_others(
    cache: LoadingCache[str], source: Source
) -> None:
    first = await held_up(cache, source, "a")
    second = asyncio.create_task(cache.get("a"))
    await settle()
    first.cancel()
    await settle()
    assert first.cancelled()
    source.open.set()
    assert await second == "1"
    assert source.loads == ["a"]


async def test_an_abandoned_load_still_fills_the_cache(
    cache: LoadingCache[str], source: Source
) -> None:
    only = await held_up(cache, source, "a")
    only.cancel()
    await settle()
    source.open.set()
    await settle()
    assert await cache.get("a") == "1"
    assert source.loads == ["a"]


async def test_an_abandoned_load_that_fails_is_not_reported(
    cache: LoadingCache[str], source: Source
) -> None:
    """asyncio tells its handler of an error that nobody retrieved once the task is collected."""
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
    source.error = OSError("away")
    only = await held_up(cache, source, "a")
    only.cancel()
    await settle()
    source.open.set()
    await settle()
    # Its traceback holds the load.
    source.error = None
    del only
    gc.collect()
    assert reports == []
    assert await cache.get("a") == "1"
    assert source.loads == ["a", "a"]
