"""What an earlier release left in arq's default queue is posted; foreign jobs there stay."""

import asyncio

from arq import create_pool
from arq.connections import RedisSettings
from arq.constants import in_progress_key_prefix, job_key_prefix

from libs.common.storage.queue.earlier_queue import EARLIER_QUEUE, move_earlier_jobs
from libs.common.storage.queue.event_queue import QUEUE
from services.ledger_worker.assembly import run_chores
from services.ledger_worker.settings import Settings
from tests.service.ledger_worker.worker_stage import Stage, make_event, make_events, working
from tests.support.polling import eventually

FOREIGN = "of-another-application"


async def enqueue_earlier(stage: Stage, job_id: str) -> None:
    """As an earlier release did, which differed in the queue's name alone."""
    await stage.enqueue([make_event()], job_id)
    due = await stage.redis.zscore(QUEUE, job_id)
    await stage.redis.zrem(QUEUE, job_id)
    await stage.redis.zadd(EARLIER_QUEUE, {job_id: due})


async def enqueue_foreign(stage: Stage) -> None:
    """By arq itself, for a function that this project does not have."""
    options = stage.redis.connection_pool.connection_kwargs
    pool = await create_pool(RedisSettings(host=options["host"], port=options["port"]))
    try:
        assert await pool.enqueue_job("resize_image", 7, _job_id=FOREIGN) is not None
    finally:
        await pool.aclose()


async def test_earlier_jobs_are_posted_and_foreign_ones_stay(
    stage: Stage, settings: Settings
) -> None:
    await enqueue_foreign(stage)
    for n in range(205):
        await enqueue_earlier(stage, f"earlier-{n}")
    await stage.enqueue(make_events(2), "of-this-release")

    stop = asyncio.Event()
    async with working(stage, settings), asyncio.TaskGroup() as tasks:
        tasks.create_task(run_chores(stage.resources(settings), stop))

        async def all_posted() -> bool:
            return len(await stage.entry_ids()) == 207

        await eventually(all_posted)
        await stage.drained()
        stop.set()

    await stage.assert_exact("alice", 207)
    assert await stage.redis.zrange(EARLIER_QUEUE, 0, -1) == [FOREIGN.encode()]
    assert await stage.redis.exists(job_key_prefix + FOREIGN)


async def test_a_job_that_an_earlier_worker_has_begun_stays_with_it(stage: Stage) -> None:
    await enqueue_earlier(stage, "begun")
    await enqueue_earlier(stage, "waiting")
    await stage.redis.set(in_progress_key_prefix + "begun", "1")

    assert await move_earlier_jobs(stage.redis) == 1
    assert await stage.redis.zrange(EARLIER_QUEUE, 0, -1) == [b"begun"]

    await stage.redis.delete(in_progress_key_prefix + "begun")
    assert await move_earlier_jobs(stage.redis) == 1
    assert sorted(await stage.redis.zrange(QUEUE, 0, -1)) == [b"begun", b"waiting"]


async def test_a_moved_job_keeps_its_place_in_time(stage: Stage) -> None:
    await enqueue_earlier(stage, "earlier")
    due = await stage.redis.zscore(EARLIER_QUEUE, "earlier")
    await move_earlier_jobs(stage.redis)
    assert await stage.redis.zscore(QUEUE, "earlier") == due


async def test_an_earlier_job_without_data_stays(stage: Stage) -> None:
    await stage.redis.zadd(EARLIER_QUEUE, {"gone": 1, "damaged": 2})
    await stage.redis.set(job_key_prefix + "damaged", b"\xc1")
    assert await move_earlier_jobs(stage.redis) == 0
    assert await stage.redis.zcard(EARLIER_QUEUE) == 2


async def test_of_many_foreign_jobs_a_turn_looks_at_some(stage: Stage) -> None:
    await stage.redis.zadd(EARLIER_QUEUE, {f"foreign-{n}": n for n in range(250)})
    for n in range(3):
        await enqueue_earlier(stage, f"earlier-{n}")
    turns: list[int] = []

    def last(number: int) -> int:
        turns.append(number)
        return number - 1

    # Of three parts the last has 53 jobs, three of them due now.
    assert await move_earlier_jobs(stage.redis, most=100, any_of=lambda _: 1) == 0
    assert await move_earlier_jobs(stage.redis, most=100, any_of=last) == 3
    assert turns == [3]
    assert await stage.redis.zcard(EARLIER_QUEUE) == 250
