"""The second cache level: it is never right against MongoDB, and never in the way."""

import asyncio

import pytest

from libs.common.breaker import Breaker
from libs.common.schemas.key import ApiKey
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.shared_cache import SharedCache, cached_item_key, tombstone
from tests.servers import HOST, free_port
from tests.support.clock import Clock
from tests.unit.builders import api_key

HASH = "a" * 64


class Database:
    """What is read from it; reads can be held up."""

    def __init__(self) -> None:
        self.key: ApiKey | None = api_key()
        self.reads = 0
        self.open = asyncio.Event()
        self.open.set()

    async def read(self, _: str) -> ApiKey | None:
        self.reads += 1
        found = self.key
        await self.open.wait()
        return found


@pytest.fixture
def source() -> Database:
    return Database()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def level(redis: Redis, clock: Clock, breaker: Breaker | None = None) -> SharedCache[ApiKey]:
    """That of one replica."""
    return SharedCache(
        Pipelined(redis), breaker or Breaker(1.0, clock), "key", ApiKey, ttl_s=30, clock=clock
    )


async def test_a_read_is_shared_between_replicas(
    redis: Redis, source: Database, clock: Clock
) -> None:
    first = await level(redis, clock).get(HASH, source.read)
    again = await level(redis, clock).get(HASH, source.read)
    assert first is not None
    assert again is not None
    assert first.value == again.value == source.key
    assert source.reads == 1
    # It may be kept for no longer than it has left there.
    assert 0 < again.for_s <= first.for_s == 30
    assert 29_000 < await redis.pttl(cached_item_key("key", HASH)) <= 30_000


async def test_secrets_are_not_cached(redis: Redis, source: Database, clock: Clock) -> None:
    await level(redis, clock).get(HASH, source.read)
    assert await redis.keys("gateway:l2:*") == [f"gateway:l2:2:key:{HASH}".encode()]


async def test_missing_documents_are_not_cached(
    redis: Redis, source: Database, clock: Clock
) -> None:
    source.key = None
    assert await level(redis, clock).get(HASH, source.read) is None
    assert await redis.keys("*") == []
    source.key = api_key()
    assert await level(redis, clock).get(HASH, source.read) is not None


async def test_a_write_is_seen_at_once(redis: Redis, source: Database, clock: Clock) -> None:
    replica = level(redis, clock)
    await replica.get(HASH, source.read)
    source.key = api_key(status="revoked")
    await tombstone(redis, "key", HASH)
    for _ in range(2):
        found = await replica.get(HASH, source.read)
        assert found is not None
        assert found.value.status == "revoked"
    # Not before every slow reader is done is anything kept again.
    assert source.reads == 3
    assert 0 < await redis.ttl(cached_item_key("key", HASH)) <= 15


async def test_a_slow_reader_cannot_restore_the_old_value(
    redis: Redis, source: Database, clock: Clock
) -> None:
    source.open.clear()
    slow = asyncio.create_task(level(redis, clock).get(HASH, source.read))
    while source.reads == 0:
        await asyncio.sleep(0)
    source.key = api_key(status="revoked")
    await tombstone(redis, "key", HASH)
    source.open.set()
    old = await slow
    assert old is not None
    assert old.value.status == "active"
    found = await level(redis, clock).get(HASH, source.read)
    assert found is not None
    assert found.value.status == "revoked"


async def test_a_reader_slower_than_the_tombstone_caches_nothing(
    redis: Redis, source: Database, clock: Clock
) -> None:
    async def slow(object_id: str) -> ApiKey | None:
        clock.now += 5
        return await source.read(object_id)

    assert await level(redis, clock).get(HASH, slow) is not None
    assert await redis.keys("*") == []


async def test_values_of_another_release_are_read_again(
    redis: Redis, source: Database, clock: Clock
) -> None:
    await redis.set(cached_item_key("key", HASH), b"\xc1", px=30_000)
    found = await level(redis, clock).get(HASH, source.read)
    assert found is not None
    assert source.reads == 1


async def test_without_redis_reads_go_to_the_database_at_once(
    source: Database, clock: Clock
) -> None:
    breaker = Breaker(1.0, clock)
    async with open_redis(f"redis://{HOST}:{free_port()}/0") as away:
        replica = level(away, clock, breaker)
        for _ in range(3):
            found = await replica.get(HASH, source.read)
            assert found is not None
            assert found.value == source.key
        assert breaker.is_open
    assert source.reads == 3
