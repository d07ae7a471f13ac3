"""Which shards a process works on, while others come, go and disagree."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.shard_workers import Presence, ShardWorkers
from libs.common.storage.redis.shards import cluster_shards
from services.ledger_worker.shard_share import is_dealt, share_shards
from tests.fake_redis import fake_redis
from tests.support.polling import eventually


@pytest.mark.parametrize("count", [1, 2, 7, 16])
@pytest.mark.parametrize("present", [1, 2, 3, 16, 17, 40])
def test_every_shard_has_a_worker_and_every_worker_a_shard(count: int, present: int) -> None:
    workers = [f"w{number:02}" for number in range(present)]
    dealt = [(w, s) for w in workers for s in range(count) if is_dealt(s, count, w, workers)]
    per_worker, per_shard = Counter(w for w, _ in dealt), Counter(s for _, s in dealt)
    assert set(per_worker) == set(workers)
    assert set(per_shard) == set(range(count))
    assert max(per_worker.values()) - min(per_worker.values()) <= 1
    assert max(per_shard.values()) - min(per_shard.values()) <= 1


FOUR = cluster_shards(4)
QUEUES = [FOUR.name("gateway:queue", shard) for shard in range(4)]


class Process:
    """One that shares the shards, and says which it works on."""

    def __init__(self, others: ShardWorkers, name: str) -> None:
        self.working: set[int] = set()
        self.name = name
        self._others = others
        self._stop = asyncio.Event()

    async def _work(self, shard: int, stop: asyncio.Event) -> None:
        assert shard not in self.working
        self.working.add(shard)
        await stop.wait()
        self.working.remove(shard)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Process"]:
        task = asyncio.create_task(
            share_shards(
                self._others,
                self._work,
                self._stop,
                worker=self.name,
                late_ms=60_000,
                look_s=0.01,
            )
        )
        try:
            yield self
        finally:
            self._stop.set()
            await task


class OneShardAway(ShardWorkers):
    """The server of shard 1 does not answer."""

    is_away = False

    async def announce(self, shard: int, worker: str) -> Presence:
        if self.is_away and shard == 1:
            raise RedisConnectionError("away")
        return await super().announce(shard, worker)

    async def leave(self, shard: int, worker: str) -> None:
        if self.is_away and shard == 1:
            raise RedisConnectionError("away")
        await super().leave(shard, worker)


@pytest.fixture
async def others() -> AsyncIterator[OneShardAway]:
    async with fake_redis() as redis:
        yield OneShardAway(Pipelined(redis), FOUR, QUEUES, gone_after_ms=60_000)


def works_on(process: Process, *shards: int) -> asyncio.Future[None]:
    async def has_shards() -> bool:
        return process.working == set(shards)

    return asyncio.ensure_future(eventually(has_shards))


async def test_one_process_takes_all_and_two_share_them(others: ShardWorkers) -> None:
    async with Process(others, "a").running() as first:
        await works_on(first, 0, 1, 2, 3)
        async with Process(others, "b").running() as second:
            await works_on(second, 1, 3)
            await works_on(first, 0, 2)
        assert second.working == set()
        await works_on(first, 0, 1, 2, 3)
    assert first.working == set()


async def test_the_shards_of_a_process_that_died_are_taken(others: ShardWorkers) -> None:
    for shard in range(4):
        await others.announce(shard, "0-dead")
    async with Process(others, "a").running() as process:
        await works_on(process, 1, 3)
    async with fake_redis() as redis:
        expiring = ShardWorkers(Pipelined(redis), FOUR, QUEUES, gone_after_ms=50)
        for shard in range(4):
            await expiring.announce(shard, "0-dead")
        async with Process(expiring, "a").running() as process:
            await works_on(process, 0, 1, 2, 3)


async def test_a_server_that_is_away_changes_nothing_for_the_others(others: OneShardAway) -> None:
    others.is_away = True
    async with Process(others, "a").running() as first:
        await works_on(first, 0, 2, 3)
        others.is_away = False
        await works_on(first, 0, 1, 2, 3)
        others.is_away = True
        async with Process(others, "b").running() as second:
            await works_on(second, 3)
            # It goes on waiting for the server, as the only one that knew it.
            await works_on(first, 0, 1, 2)


async def test_more_processes_than_shards_share_a_shard(others: ShardWorkers) -> None:
    for shard in range(4):
        for name in ("a", "b", "c", "d"):
            await others.announce(shard, name)
    async with Process(others, "e").running() as process:
        await works_on(process, 0)


async def test_a_fault_of_the_work_ends_the_process(others: ShardWorkers) -> None:
    async def fail(shard: int, stop: asyncio.Event) -> None:
        raise ValueError(f"shard {shard}")

    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await share_shards(others, fail, asyncio.Event(), worker="a", late_ms=60_000, look_s=0.01)


async def test_a_shard_that_falls_behind_is_worked_on_by_all() -> None:
    """Its own worker says that it is there, and does nothing."""
    async with fake_redis() as redis:
        others = ShardWorkers(Pipelined(redis), FOUR, QUEUES, gone_after_ms=60_000)
        for shard in range(4):
            await others.announce(shard, "0-idle")
        now_ms = int((await redis.time())[0]) * 1000
        await redis.zadd(QUEUES[1], {"own": now_ms - 59_000})
        await redis.zadd(QUEUES[2], {"late": now_ms - 62_000, "next": now_ms - 1_000})
        await redis.zadd(QUEUES[0], {"not due": now_ms + 600_000})
        async with Process(others, "a").running() as process:
            await works_on(process, 1, 2, 3)
            await redis.zrem(QUEUES[2], "late")
            await works_on(process, 1, 3)
