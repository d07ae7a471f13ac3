"""Metering by shard: what one shard cannot take holds up no other, and is lost with none."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from arq.constants import job_key_prefix

from libs.common.errors import AnswerWithheld, NothingRecordable
from libs.common.schemas.holds import Finished, LimitScope, OpenHold, PeriodLimit, Spent
from libs.common.storage.queue.event_queue import (
    decode_event,
    decode_job,
    queues_of,
    split_batch,
)
from libs.common.storage.redis.breakers import Breakers
from libs.common.storage.redis.client import Redis, RedisError
from services.gateway.admission.admissions import Admissions
from services.gateway.admission.without_redis import ClosedCalls
from services.gateway.spool.backlog import Backlog, Metered
from services.gateway.spool.spool import Spool
from services.gateway.usage.meter import Meter
from tests.support.sharding import shard_by_key, user_of
from tests.unit.builders import event
from tests.unit.gateway.sharded_holds import ShardedHolds, sharded_redis

SHARDS = range(4)


class Calls:
    """Stands for the admissions."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.away_at_drain: list[set[int]] = []

    def close_call(self, call_id: str, cost_nusd: int) -> None:
        self.closed.append(call_id)

    def is_open(self, call_id: str) -> bool:
        return True

    def redis_has_hold(self, call_id: str) -> None:
        """Nothing counts here."""

    def closed_calls(self) -> ClosedCalls:
        return {}

    def spool_is_drained(self, closed: ClosedCalls, *, except_shards: Collection[int] = ()) -> None:
        self.away_at_drain.append(set(except_shards))


class Stage:
    def __init__(self, redis: Redis, directory: Path, *, spool_bytes: int) -> None:
        self.redis = redis
        self.holds = ShardedHolds(redis)
        self.shards = self.holds.shards
        self.users = [user_of(self.shards, shard) for shard in SHARDS]
        self.calls = Calls()
        self.spool = Spool(directory, max_bytes=spool_bytes)
        self.spool.open()
        self.backlog = Backlog(self.spool)
        self.breakers = Breakers(self.shards, 0.0)

    def meter(self, *, client_wait_s: float = 60.0) -> Meter:
        return Meter(
            self.holds,
            self.backlog,
            self.breakers,
            cast("Admissions", self.calls),
            client_wait_s=client_wait_s,
            drain_pause_s=0.01,
        )

    def metered(self, shard: int, call_id: str) -> Metered:
        user_id = self.users[shard]
        finished = Finished(user_id=user_id, call_id=call_id, key_id=None, cost_nusd=3, tokens=4)
        return Metered(event(call_id, user_id=user_id), finished)

    async def hold(self, shard: int, call_id: str, *, lease_s: int = 60) -> None:
        user_id = self.users[shard]
        await self.holds.seed(user_id, [Spent(period="total", nusd=0)])
        await self.holds.admit(
            user_id,
            call_id,
            hold_nusd=50,
            tokens=0,
            lease_s=lease_s,
            scopes=[LimitScope(budgets=(PeriodLimit("total", 1000),))],
            event=call_id.encode(),
        )

    async def queued_calls(self) -> list[list[str]]:
        """The calls that wait, by shard."""
        call_ids = []
        for queue in queues_of(self.shards):
            calls = []
            for job_id in await self.redis.zrange(queue.name, 0, -1):
                job = await self.redis.get(job_key_prefix.encode() + job_id)
                assert job is not None
                calls += [decode_event(raw).call_id for raw in split_batch(decode_job(job)["a"][0])]
            call_ids.append(sorted(calls))
        await shard_by_key(self.redis, self.shards)
        return call_ids


@asynccontextmanager
async def open_stage(redis: Redis, directory: Path, spool_bytes: int) -> AsyncIterator[Stage]:
    stage = Stage(redis, directory, spool_bytes=spool_bytes)
    yield stage
    stage.spool.close()


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    async with sharded_redis() as redis:
        yield redis


@pytest.fixture
async def stage(redis: Redis, tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(redis, tmp_path, 1024**2) as stage:
        yield stage


@pytest.fixture
async def roomless(redis: Redis, tmp_path: Path) -> AsyncIterator[Stage]:
    """Its spool takes nothing."""
    async with open_stage(redis, tmp_path, 1) as stage:
        yield stage


async def test_each_event_is_enqueued_once_beside_the_hold_that_it_resizes(stage: Stage) -> None:
    meter = stage.meter()
    for shard in SHARDS:
        for call_id in ("a", "b"):
            await stage.hold(shard, call_id)
    await asyncio.gather(
        *(meter.enqueue(stage.metered(shard, call)) for shard in SHARDS for call in ("a", "b"))
    )
    assert await stage.queued_calls() == [["a", "b"]] * 4
    # Events that came at once share a job.
    assert sorted(stage.holds.sent) == [0, 1, 2, 3]
    for user_id in stage.users:
        assert await stage.holds.held(user_id) == 6
    await meter.close()


async def test_an_event_of_a_shard_that_is_away_is_spooled_and_the_others_do_not_notice(
    stage: Stage,
) -> None:
    stage.holds.away = {1}
    meter = stage.meter()
    await asyncio.gather(*(meter.enqueue(stage.metered(shard, "a")) for shard in SHARDS))
    assert await stage.queued_calls() == [["a"], [], ["a"], ["a"]]
    assert [breaker.is_open for breaker in stage.breakers.by_shard] == [False, True, False, False]
    assert not stage.breakers.shared.is_open
    assert not stage.spool.is_empty()
    await meter.close()


async def test_without_room_in_the_spool_only_that_shard_refuses_calls(roomless: Stage) -> None:
    stage = roomless
    stage.holds.away = {1}
    meter = stage.meter()
    waiting = asyncio.create_task(meter.enqueue(stage.metered(1, "a")))
    async with asyncio.timeout(5):
        while not meter.in_memory():
            await asyncio.sleep(0)
        with pytest.raises(NothingRecordable):
            meter.require_writable(stage.users[1])
        for shard in (0, 2, 3):
            meter.require_writable(stage.users[shard])
            await meter.enqueue(stage.metered(shard, "b"))
    assert not waiting.done()
    stage.holds.away = set()
    await waiting
    assert await stage.queued_calls() == [["b"], ["a"], ["b"], ["b"]]
    meter.require_writable(stage.users[1])
    await meter.close()


async def test_an_event_whose_client_got_an_error_is_written_once_its_shard_is_back(
    roomless: Stage,
) -> None:
    stage = roomless
    stage.holds.away = {2}
    meter = stage.meter(client_wait_s=0)
    with pytest.raises(AnswerWithheld):
        await meter.enqueue(stage.metered(2, "a"))
    assert meter.in_memory() == 1
    draining = asyncio.create_task(meter.drain_spool())
    stage.holds.away = set()
    async with asyncio.timeout(5):
        while not stage.calls.closed:
            await asyncio.sleep(0.01)
    draining.cancel()
    assert stage.calls.closed == ["a"]
    assert await stage.queued_calls() == [[], [], ["a"], []]
    assert meter.in_memory() == 0


async def test_spooled_events_of_a_shard_that_is_away_let_the_others_pass(stage: Stage) -> None:
    stage.holds.away = {1, 2}
    meter = stage.meter()
    for call_id in ("a", "b"):
        for shard in (1, 2):
            await meter.enqueue(stage.metered(shard, call_id))

    stage.holds.away = {1}
    assert await meter.drain_backlog() == 2
    assert await stage.queued_calls() == [[], [], ["a", "b"], []]
    assert stage.calls.away_at_drain == [{1}]
    assert [breaker.is_open for breaker in stage.breakers.by_shard] == [False, True, False, False]
    # What was sent is not sent again, and new records come behind.
    await meter.enqueue(stage.metered(1, "c"))
    assert await meter.drain_backlog() == 0
    assert not stage.spool.is_empty()

    stage.holds.away = set()
    assert await meter.drain_backlog() == 3
    assert await stage.queued_calls() == [[], ["a", "b", "c"], ["a", "b"], []]
    assert stage.spool.is_empty()
    assert not any(breaker.is_open for breaker in stage.breakers.by_shard)


async def test_a_new_master_has_the_scripts_before_it_gets_a_batch(stage: Stage) -> None:
    """It would enqueue the batch without them, and then have it again."""
    stage.holds.away = {1}
    meter = stage.meter()
    await meter.enqueue(stage.metered(1, "a"))
    stage.holds.away, stage.holds.taken_over = set(), {1}
    assert await meter.drain_backlog() == 1
    assert stage.holds.sent == [1]
    assert await stage.queued_calls() == [[], ["a"], [], []]


async def test_while_no_shard_answers_nothing_is_sent(stage: Stage) -> None:
    stage.holds.away = set(SHARDS)
    meter = stage.meter()
    await meter.enqueue(stage.metered(0, "a"))
    with pytest.raises(RedisError, match="away"):
        await meter.drain_backlog()
    assert stage.calls.away_at_drain == []
    stage.holds.away = set()
    assert await meter.drain_backlog() == 1


async def test_a_record_of_several_shards_is_sent_in_parts(stage: Stage, tmp_path: Path) -> None:
    """Written when there was another number of shards. A process killed between two parts leaves
    it to the next one, which sends it whole: the ledger posts an event once.
    """
    await stage.backlog.add([stage.metered(shard, "a") for shard in SHARDS])
    stage.holds.away = {1, 2}
    meter = stage.meter()
    assert await meter.drain_backlog() == 0
    assert await stage.queued_calls() == [["a"], [], [], ["a"]]
    stage.holds.away = {2}
    assert await meter.drain_backlog() == 0
    assert (await stage.queued_calls())[1] == ["a"]
    stage.spool.close()

    next_one = Stage(stage.redis, tmp_path, spool_bytes=1024**2)
    assert await next_one.meter().drain_backlog() == 1
    assert all("a" in calls for calls in await stage.queued_calls())
    assert next_one.spool.is_empty()
    for user_id in stage.users:
        assert await stage.holds.held(user_id) == 3
    next_one.spool.close()


async def test_holds_taken_without_redis_are_taken_in_their_shards(stage: Stage) -> None:
    for shard in SHARDS:
        await stage.backlog.record_hold(
            OpenHold(
                user_id=stage.users[shard],
                call_id="a",
                hold_nusd=7,
                key_id=None,
                lease_s=60,
                parallel_scopes=(),
                event=b"event",
            )
        )
    stage.holds.away = {3}
    meter = stage.meter()
    assert await meter.drain_backlog() == 3
    assert [await stage.holds.held(user) for user in stage.users] == [7, 7, 7, 0]
    stage.holds.away = set()
    assert await meter.drain_backlog() == 1
    assert [await stage.holds.held(user) for user in stage.users] == [7, 7, 7, 7]
    await shard_by_key(stage.redis, stage.shards)


async def test_a_gateway_killed_between_two_shards_leaves_the_other_call_to_the_sweep(
    stage: Stage,
) -> None:
    """Two calls end at once; only one shard's transaction was made."""
    for shard in (0, 1):
        await stage.hold(shard, "a", lease_s=0)
    stage.holds.away = {1}
    dying = stage.meter()
    for shard in (0, 1):
        dying.enqueue_nowait(stage.metered(shard, "a"))
    async with asyncio.timeout(5):
        while not (await stage.queued_calls())[0]:
            await asyncio.sleep(0)
    stage.holds.away = set()
    assert await stage.holds.sweep(stage.users[0], limit=10) == []
    assert await stage.holds.sweep(stage.users[1], limit=10) == [b"a"]
    assert await stage.holds.held(stage.users[0]) == 3
    await dying.close()


async def test_a_record_that_cannot_be_read_goes_to_a_shard_that_answers(stage: Stage) -> None:
    await stage.spool.append(b"\xc1")
    stage.holds.away = {0}
    assert await stage.meter().drain_backlog() == 1
    (job,) = await stage.redis.zrange(queues_of(stage.shards)[1].name, 0, -1)
    assert job.startswith(b"{")
    assert stage.spool.is_empty()
