"""Invalidations over a real server: they arrive, and a connection that breaks is not trusted."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.common.schemas.invalidation import Invalidation
from libs.common.storage.redis.client import Redis, RedisError, open_redis
from libs.common.storage.redis.cluster_client import Routed
from libs.common.storage.redis.invalidation import listen, publish
from libs.common.storage.redis.key_slots import slot_of
from libs.common.storage.redis.shared_cache import cached_item_key
from tests.clusters import Cluster, until

_FIRST = Invalidation(kind="key", id="hash-1")
_SECOND = Invalidation(kind="account", id="acme")


class Gateway:
    """Listens as a gateway does, and remembers in what order it was told to forget what."""

    def __init__(self, redis: Redis) -> None:
        self._queue: asyncio.Queue[Invalidation | str] = asyncio.Queue()
        self._task = asyncio.create_task(
            listen(redis, self._queue.put_nowait, lambda: self._queue.put_nowait("everything"))
        )

    async def next(self) -> Invalidation | str:
        async with asyncio.timeout(10):
            return await self._queue.get()

    def has_heard_all(self) -> bool:
        return self._queue.empty()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        assert self._task.cancelled()


@pytest.fixture
async def admin(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url) as redis:
        yield redis


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Gateway]:
    async with open_redis(redis_url) as redis:
        listening = Gateway(redis)
        yield listening
        await listening.close()


async def test_a_subscribing_gateway_invalidates_everything(gateway: Gateway) -> None:
    assert await gateway.next() == "everything"
    assert gateway.has_heard_all()


async def test_invalidations_arrive_in_order(gateway: Gateway, admin: Redis) -> None:
    assert await gateway.next() == "everything"
    for invalidation in (_FIRST, _SECOND, _FIRST):
        await publish(admin, invalidation)
    assert [await gateway.next() for _ in range(3)] == [_FIRST, _SECOND, _FIRST]


async def test_every_gateway_receives_an_invalidation(
    redis_url: str, gateway: Gateway, admin: Redis
) -> None:
    async with open_redis(redis_url) as redis:
        other = Gateway(redis)
        assert await gateway.next() == await other.next() == "everything"
        await publish(admin, _FIRST)
        assert await gateway.next() == await other.next() == _FIRST
        await other.close()


@pytest.mark.parametrize("times", [1, 3])
async def test_a_reconnecting_gateway_invalidates_everything(
    gateway: Gateway, admin: Redis, times: int
) -> None:
    assert await gateway.next() == "everything"
    for _ in range(times):
        assert await admin.client_kill_filter(_type="pubsub") >= 1
        assert await gateway.next() == "everything"
        await publish(admin, _FIRST)
        assert await gateway.next() == _FIRST
    assert gateway.has_heard_all()


async def test_publishing_without_subscribers_succeeds(admin: Redis) -> None:
    await publish(admin, _FIRST)


async def test_a_gateway_hears_of_a_value_whose_node_is_away(
    emptied_cluster: Cluster, cluster_redis: Routed
) -> None:
    """Else its key would go on working with a gateway that Redis could have told."""
    await cluster_redis.ping()
    master = emptied_cluster.master_of(slot_of(cached_item_key(_FIRST.kind, _FIRST.id)))
    master.server.kill()
    try:
        listening = Gateway(cluster_redis)
        assert await listening.next() == "everything"
        with pytest.raises(RedisError):
            await publish(cluster_redis, _FIRST)
        assert await listening.next() == _FIRST
        await listening.close()
    finally:
        master.server.start()
        until(emptied_cluster.is_whole)
