"""Cooldowns that replicas share through Redis, in steps that the test takes."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from fakeredis import FakeAsyncRedis
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from libs.common.storage.redis.client import RedisError
from libs.common.storage.redis.cooldowns import NO_REASONS, CooldownStore
from services.gateway.upstream.cooldowns import Cooldowns
from services.gateway.upstream.verdict import Failure


class Replica:
    """`sync` lets `share` come round once."""

    def __init__(self, store: CooldownStore, times: list[float]) -> None:
        self.cooldowns = Cooldowns(store, clock=lambda: times[0], sleep=self._sleep)
        self._turns = asyncio.Semaphore(0)
        self._asleep = asyncio.Event()

    async def sync(self) -> None:
        self._asleep.clear()
        self._turns.release()
        await self._asleep.wait()

    async def _sleep(self, _: float) -> None:
        self._asleep.set()
        await self._turns.acquire()


class Store(CooldownStore):
    """Stops working when told so; `meanwhile` runs while an exchange is under way."""

    away = False
    meanwhile: Replica | None = None

    async def exchange(
        self, until_s: Mapping[str, float], *, now_s: float, reasons: Mapping[str, str] = NO_REASONS
    ) -> dict[str, float]:
        if self.away:
            raise RedisError("away")
        found = await super().exchange(until_s, now_s=now_s, reasons=reasons)
        if self.meanwhile is not None:
            self.meanwhile.cooldowns.start("a", 90, why="a test")
        return found


@pytest.fixture
def times() -> list[float]:
    return [1000.0]


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    redis = FakeAsyncRedis()
    yield Store(redis)
    await redis.aclose()


@pytest.fixture
async def replicas(store: Store, times: list[float]) -> AsyncIterator[tuple[Replica, Replica]]:
    first, second = Replica(store, times), Replica(store, times)
    tasks = {asyncio.create_task(replica.cooldowns.share()) for replica in (first, second)}
    yield first, second
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_cooldown_is_shared_and_expires(
    replicas: tuple[Replica, Replica], times: list[float]
) -> None:
    first, second = replicas
    first.cooldowns.start("a", 30, why="a test")
    assert first.cooldowns.is_cooling("a", "acme")
    assert not second.cooldowns.is_cooling("a", "acme")
    await first.sync()
    await second.sync()
    assert second.cooldowns.is_cooling("a", "acme")
    times[0] += 30
    assert not first.cooldowns.is_cooling("a", "acme")
    assert not second.cooldowns.is_cooling("a", "acme")


async def test_the_longest_cooldown_counts(
    replicas: tuple[Replica, Replica], times: list[float]
) -> None:
    first, second = replicas
    first.cooldowns.start("a", 60, why="a test")
    second.cooldowns.start("a", 10, why="a test")
    await first.sync()
    await second.sync()
    times[0] += 30
    assert first.cooldowns.is_cooling("a", "acme")
    assert second.cooldowns.is_cooling("a", "acme")


async def test_a_cooldown_started_during_a_sync_is_kept(
    replicas: tuple[Replica, Replica], store: Store, times: list[float]
) -> None:
    first, _ = replicas
    first.cooldowns.start("a", 10, why="a test")
    store.meanwhile = first
    await first.sync()
    times[0] += 60
    assert first.cooldowns.is_cooling("a", "acme")


async def test_without_redis_cooldowns_are_local_and_shared_later(
    replicas: tuple[Replica, Replica], store: Store
) -> None:
    first, second = replicas
    store.away = True
    first.cooldowns.start("a", 60, why="a test")
    await first.sync()
    assert first.cooldowns.is_cooling("a", "acme")
    store.away = False
    await first.sync()
    await second.sync()
    assert second.cooldowns.is_cooling("a", "acme")


async def test_the_reason_of_a_cooldown_is_shown(
    replicas: tuple[Replica, Replica], store: Store
) -> None:
    first, second = replicas
    store.away = True
    for _ in range(2):
        first.cooldowns.failed(
            "a", "acme", Failure.OF_DEPLOYMENT, after=2, for_s=30, last_answer="503 overloaded"
        )
    await first.sync()
    store.away = False
    await first.sync()
    await second.sync()
    second.cooldowns.failed(
        "b", "acme", Failure.OF_DEPLOYMENT, after=9, for_s=30, at_once=True, last_answer="429"
    )
    for number in range(3):
        second.cooldowns.failed("c", f"acme-{number}", Failure.UNEXPLAINED, after=2, for_s=30)
    await second.sync()
    assert await store.reasons(["a", "b", "c", "d"]) == {
        "a": "it failed 2 times in a row: 503 overloaded",
        "b": "it asked for the pause: 429",
        "c": "calls of 3 accounts failed",
    }
    assert await store.reasons([]) == {}


async def test_a_reason_ends_soon_after_its_cooldown(store: Store) -> None:
    await store.exchange({"a": 1030.0}, now_s=1000.0, reasons={"a": "it failed", "gone": "odd"})
    (key,) = await store._redis.keys("gateway:cooldown-reason:*")
    assert 30_000 < await store._redis.pttl(key) <= 40_000


async def test_expired_cooldowns_are_removed_from_redis(store: Store) -> None:
    assert await store.exchange({"a": 1010.0, "b": 1020.0}, now_s=1000.0) == {
        "a": 1010.0,
        "b": 1020.0,
    }
    assert await store.active(now_s=1010.0) == {"b": 1020.0}
    assert await store.exchange({}, now_s=1015.0) == {"b": 1020.0}
    assert await store.exchange({}, now_s=1020.0) == {}


async def test_metrics_count_cooling_deployments_until_expiry(times: list[float]) -> None:
    def cooling(scope: str) -> float | None:
        return REGISTRY.get_sample_value("gateway_deployments_cooling", {"scope": scope})

    replica = Replica(Store(None), times)  # type: ignore[arg-type]
    assert (cooling("all"), cooling("account")) == (0, 0)
    with capture_logs() as logs:
        replica.cooldowns.failed("a", "acme", Failure.OF_DEPLOYMENT, after=1, for_s=30)
        replica.cooldowns.failed("b", "acme", Failure.OF_ACCOUNT, after=1, for_s=60)
        replica.cooldowns.failed(
            "c", "acme", Failure.OF_DEPLOYMENT, after=3, for_s=60, at_once=True
        )
    assert (cooling("all"), cooling("account")) == (2, 1)
    assert [(event["deployment"], event["why"]) for event in logs] == [
        ("a", "of_deployment"),
        ("b", "of_account"),
        ("c", "retry_after"),
    ]
    times[0] += 31
    assert (cooling("all"), cooling("account")) == (1, 1)
