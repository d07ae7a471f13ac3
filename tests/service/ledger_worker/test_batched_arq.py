"""Which worker does a job: one at a time, when it is due, and another where the first one died."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from arq.constants import in_progress_key_prefix, job_key_prefix
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from libs.common.storage.queue.event_queue import QUEUE
from libs.common.storage.redis.client import open_redis
from services.ledger_worker.queue_redis import ClaimedJob, QueueRedis
from services.ledger_worker.queue_worker import QueueWorker, create_worker, keep_working
from tests.servers import free_port
from tests.service.ledger_worker.test_queue_worker import HEALTH_KEY, Running, ScriptedJobs
from tests.service.ledger_worker.worker_stage import Stage, make_event
from tests.support.polling import eventually

_LEASE_MS = 60_000


@pytest.fixture
def queue(stage: Stage) -> QueueRedis:
    return QueueRedis(stage.redis.connection_pool, default_queue_name=QUEUE)


def now_ms() -> int:
    return int(time.time() * 1000)


async def enqueued(stage: Stage, number: int) -> list[str]:
    """Ids of jobs, in the order of the queue."""
    job_ids = [await stage.enqueue([make_event()]) for _ in range(number)]
    # Those of one millisecond are in the order of their ids.
    due = await stage.redis.zmscore(QUEUE, job_ids)
    return [job_id for _, job_id in sorted(zip(due, job_ids, strict=True))]


async def claim(
    queue: QueueRedis,
    *,
    room: int = 100,
    room_bytes: int = 10**6,
    look_at: int = 1000,
    lease_ms: int = _LEASE_MS,
) -> list[str]:
    claimed = await queue.claim(
        room=room, room_bytes=room_bytes, look_at=look_at, now_ms=now_ms(), lease_ms=lease_ms
    )
    return [job.job_id for job in claimed]


async def under_way(stage: Stage) -> list[str]:
    keys = await stage.redis.keys(f"{in_progress_key_prefix}*")
    return sorted(key.decode().removeprefix(in_progress_key_prefix) for key in keys)


async def test_a_job_is_claimed_once_for_the_requested_time(
    stage: Stage, queue: QueueRedis
) -> None:
    job_ids = await enqueued(stage, 3)
    assert await claim(queue) == job_ids
    assert await claim(queue) == []
    for job_id in job_ids:
        left_ms = await stage.redis.pttl(in_progress_key_prefix + job_id)
        assert _LEASE_MS - 30_000 < left_ms <= _LEASE_MS


async def test_claims_are_limited_to_the_free_slots(stage: Stage, queue: QueueRedis) -> None:
    job_ids = await enqueued(stage, 5)
    assert await claim(queue, room=2) == job_ids[:2]
    assert await under_way(stage) == sorted(job_ids[:2])
    # What others have under way does not take up the room.
    assert await claim(queue, room=2) == job_ids[2:4]


async def test_claims_are_limited_to_the_room_for_their_data(
    stage: Stage, queue: QueueRedis
) -> None:
    job_ids = await enqueued(stage, 5)
    size = await stage.redis.strlen(job_key_prefix + job_ids[0])
    assert await claim(queue, room_bytes=size + 1) == job_ids[:2]
    # One that is larger than all the room is claimed too, or nothing could ever take it.
    assert await claim(queue, room_bytes=1) == [job_ids[2]]
    assert await claim(queue, room_bytes=0) == []


async def test_a_claim_looks_past_the_jobs_of_others(stage: Stage, queue: QueueRedis) -> None:
    job_ids = await enqueued(stage, 205)
    assert await claim(queue, room=202) == job_ids[:202]
    assert await claim(queue, look_at=200) == []
    assert await claim(queue, look_at=201) == job_ids[202:]


async def test_a_deferred_job_is_not_claimed(stage: Stage, queue: QueueRedis) -> None:
    deferred, due = await enqueued(stage, 2)
    await stage.redis.zadd(QUEUE, {deferred: now_ms() + 60_000})
    assert await claim(queue) == [due]
    assert await under_way(stage) == [due]


async def test_a_finished_job_is_not_claimed(stage: Stage, queue: QueueRedis) -> None:
    done, waiting = await enqueued(stage, 2)
    await stage.redis.zrem(QUEUE, done)
    assert await claim(queue) == [waiting]
    assert await under_way(stage) == [waiting]


async def test_concurrent_claims_give_each_job_to_one_worker(
    stage: Stage, queue: QueueRedis
) -> None:
    job_ids = await enqueued(stage, 40)
    claims = await asyncio.gather(*(claim(queue, room=3) for _ in range(20)))
    assert sorted(job_id for claimed in claims for job_id in claimed) == sorted(job_ids)


async def test_a_forgotten_script_is_loaded_again(stage: Stage, queue: QueueRedis) -> None:
    job_ids = await enqueued(stage, 1)
    assert await claim(queue) == job_ids
    await stage.redis.script_flush()
    job_ids = await enqueued(stage, 1)
    assert await claim(queue) == job_ids


class CountingJobs(ScriptedJobs):
    """Counts the runs of each job, and how many of one run at the same time."""

    def __init__(self) -> None:
        super().__init__(self._take_a_while)
        self.runs_of: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.overlaps = 0
        self.most_at_once = 0

    async def post(self, ctx: dict[Any, Any], payload: bytes) -> None:
        job_id = ctx["job_id"]
        self.runs_of[job_id] += 1
        self.overlaps += self.running[job_id]
        self.running[job_id] += 1
        self.most_at_once = max(self.most_at_once, self.running.total())
        await super().post(ctx, payload)
        self.running[job_id] -= 1

    @staticmethod
    async def _take_a_while(_tries: int) -> None:
        await asyncio.sleep(0.01)


async def test_two_workers_run_each_job_once_within_their_limits(
    stage: Stage,
) -> None:
    first, second = CountingJobs(), CountingJobs()
    job_ids = await enqueued(stage, 60)
    async with Running(stage, first), Running(stage, second):
        await stage.drained()
    assert first.runs_of + second.runs_of == Counter(job_ids)
    assert max(first.most_at_once, second.most_at_once) <= 4
    assert await under_way(stage) == []


async def test_a_backlog_does_not_wait_for_the_poll(stage: Stage) -> None:
    """One poll goes on for as long as jobs end and others wait."""
    jobs, stop = CountingJobs(), asyncio.Event()
    claimed_ids = await enqueued(stage, 3)

    def new_worker() -> QueueWorker:
        worker = create_worker(
            jobs,
            stage.redis,
            stage.queues[0],
            health_key=HEALTH_KEY,
            max_jobs=2,
            job_timeout_s=60,
            on_missing=lambda: None,
        )
        worker.poll_delay_s = 3600
        return worker

    queue = QueueRedis(stage.redis.connection_pool, default_queue_name=QUEUE)
    assert await claim(queue) == claimed_ids
    job_ids = await enqueued(stage, 15)
    working = asyncio.create_task(keep_working(new_worker, stop, grace_s=10))

    async def all_but_those_taken_are_done() -> bool:
        return int(await stage.redis.zcard(QUEUE)) == len(claimed_ids)

    await eventually(all_but_those_taken_are_done)
    stop.set()
    await working
    assert jobs.runs_of == Counter(job_ids)
    assert jobs.most_at_once <= 2


async def test_a_dead_workers_job_runs_when_its_claim_expires(
    stage: Stage, queue: QueueRedis
) -> None:
    jobs = CountingJobs()
    dead, other = await enqueued(stage, 2)
    start_s = time.monotonic()
    assert await claim(queue, room=1, lease_ms=1000) == [dead]
    async with Running(stage, jobs):

        async def the_other_is_done() -> bool:
            return await stage.redis.zscore(QUEUE, other) is None

        await eventually(the_other_is_done)
        await stage.drained()
    assert jobs.runs_of == Counter([dead, other])
    assert time.monotonic() - start_s >= 0.99


async def test_a_worker_that_stops_while_it_claims_leaves_no_claims_behind(stage: Stage) -> None:
    claimed, may_go_on, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class SlowRedis(QueueRedis):
        """Its answer is under way when the worker is told to stop."""

        async def claim(self, *args: Any, **options: Any) -> list[ClaimedJob]:
            jobs = await super().claim(*args, **options)
            claimed.set()
            await may_go_on.wait()
            return jobs

    jobs = CountingJobs()

    def new_worker() -> QueueWorker:
        worker = create_worker(
            jobs,
            stage.redis,
            stage.queues[0],
            health_key=HEALTH_KEY,
            max_jobs=4,
            job_timeout_s=60,
            on_missing=lambda: None,
        )
        worker.redis = SlowRedis(stage.redis.connection_pool, default_queue_name=QUEUE)
        return worker

    job_ids = await enqueued(stage, 3)
    working = asyncio.create_task(keep_working(new_worker, stop, grace_s=10))
    await claimed.wait()
    stop.set()
    # Later than a worker that has failed would wait.
    asyncio.get_running_loop().call_later(1.5, may_go_on.set)
    await working
    assert jobs.runs_of == Counter(job_ids)
    assert await under_way(stage) == []


async def incremented(queue: QueueRedis, key: str) -> int:
    async with queue.pipeline(transaction=True) as pipeline:
        pipeline.incr(key)
        pipeline.get(key)
        number, text = await pipeline.execute()
    assert int(text) == number
    return int(number)


async def test_transactions_of_one_tick_are_one(stage: Stage, queue: QueueRedis) -> None:
    # Redis knows the script from here on.
    await incremented(queue, "first")
    await stage.redis.config_resetstat()
    keys = [f"key-{n}" for n in range(10)] + ["key-3"]
    assert await asyncio.gather(*(incremented(queue, key) for key in keys)) == [1] * 10 + [2]
    stats = await stage.redis.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 1
    assert stats["cmdstat_incrby"]["calls"] == 11


async def test_a_failure_in_a_transaction_is_raised_to_its_caller_alone(
    stage: Stage, queue: QueueRedis
) -> None:
    await stage.redis.hset("list", "field", "value")  # type: ignore[misc]
    results = await asyncio.gather(
        *(incremented(queue, key) for key in ("a", "list", "b")), return_exceptions=True
    )
    assert (results[0], results[2]) == (1, 1)
    assert isinstance(results[1], ResponseError)


async def test_a_transaction_with_a_cancelled_caller_is_still_executed(
    stage: Stage, queue: QueueRedis
) -> None:
    left, stays = (asyncio.create_task(incremented(queue, key)) for key in ("a", "b"))
    await asyncio.sleep(0)
    left.cancel()
    assert await stays == 1
    assert await stage.redis.get("a") == b"1"


async def test_a_redis_outage_reaches_all_transactions_of_a_tick() -> None:
    async with open_redis(f"redis://127.0.0.1:{free_port()}/0") as redis:
        queue = QueueRedis(redis.connection_pool, default_queue_name=QUEUE)
        waiting = [incremented(queue, key) for key in ("a", "b", "c")]
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [RedisConnectionError] * 3
