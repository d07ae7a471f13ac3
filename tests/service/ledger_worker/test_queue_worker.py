"""arq's own worker, as it is configured here: what its defaults would lose is kept."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from arq import Retry

from libs.common.storage.queue.event_queue import QUEUE
from services.ledger_worker.queue_worker import QueueWorker, create_worker, keep_working
from services.ledger_worker.settings import Settings
from tests.service.ledger_worker.worker_stage import Stage, make_event, make_events, working
from tests.support.polling import PATIENCE_S, eventually

HEALTH_KEY = "health"


class ScriptedJobs:
    """Stands for the worker's jobs: runs what the test says, and counts."""

    def __init__(self, behave: Callable[[int], Awaitable[None]]) -> None:
        self.runs = 0
        self._behave = behave

    async def post(self, ctx: dict[Any, Any], payload: bytes) -> None:
        self.runs += 1
        await self._behave(ctx["job_try"])

    async def post_together(self, payloads: Mapping[str, bytes]) -> set[str]:
        """None: arq runs each job by itself."""
        return set()

    async def dead_letter(self, ctx: dict[Any, Any], job: bytes) -> None:
        await self.post(ctx, job)

    async def correct(self, ctx: dict[Any, Any], payload: bytes) -> None:
        await self.post(ctx, payload)

    async def reprice(self, ctx: dict[Any, Any], payload: bytes) -> None:
        await self.post(ctx, payload)

    async def record(self, ctx: dict[Any, Any], payload: bytes) -> None:
        await self.post(ctx, payload)


class Running:
    """`keep_working` over scripted jobs."""

    def __init__(
        self,
        stage: Stage,
        jobs: ScriptedJobs,
        *,
        job_timeout_s: float = 20,
        grace_s: float = 10,
    ) -> None:
        self.workers: list[QueueWorker] = []
        self.missing = 0
        self._stage = stage
        self._jobs = jobs
        self._job_timeout_s = job_timeout_s
        self._grace_s = grace_s
        self._stop = asyncio.Event()

    async def __aenter__(self) -> "Running":
        working = keep_working(self._new_worker, self._stop, grace_s=self._grace_s)
        self._task = asyncio.create_task(working)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._task

    def _new_worker(self) -> QueueWorker:
        worker = create_worker(
            self._jobs,
            self._stage.redis,
            self._stage.queues[0],
            health_key=HEALTH_KEY,
            max_jobs=4,
            job_timeout_s=self._job_timeout_s,
            on_missing=self._count_missing,
        )
        self.workers.append(worker)
        return worker

    def _count_missing(self) -> None:
        self.missing += 1


async def test_a_job_is_retried_beyond_arqs_limit(stage: Stage) -> None:
    async def fail_nine_times(tries: int) -> None:
        if tries < 10:
            raise Retry

    jobs = ScriptedJobs(fail_nine_times)
    await stage.enqueue([make_event()])
    async with Running(stage, jobs):
        await stage.drained()
    assert jobs.runs == 10


async def test_a_suspended_process_does_not_lose_its_jobs(stage: Stage, settings: Settings) -> None:
    """After a pause longer than every timeout they are all due at once, arq's final one too."""
    async with working(stage, msgspec.structs.replace(settings, worker_job_timeout_s=1)):
        for _ in range(8):
            await stage.enqueue(make_events(5))

        async def some_run() -> bool:
            return bool(await stage.redis.keys("arq:in-progress:*"))

        await eventually(some_run)
        time.sleep(2.5)  # noqa: ASYNC251 - it is the event loop that is to stand still
        await stage.drained()
    await stage.assert_exact("alice", 40)


async def test_arqs_timeout_is_not_used(stage: Stage) -> None:
    """`job_timeout_s` is how long a dead worker keeps a job, not how long a job may run."""
    finished = asyncio.Event()

    async def take_long(_tries: int) -> None:
        await asyncio.sleep(1.5)
        finished.set()

    jobs = ScriptedJobs(take_long)
    job_id = await stage.enqueue([make_event()])
    async with Running(stage, jobs, job_timeout_s=1) as running:

        async def under_way() -> bool:
            return jobs.runs == 1

        await eventually(under_way)
        assert 0 < await stage.redis.pttl(f"arq:in-progress:{job_id}") <= 1000
        await stage.drained()
    assert finished.is_set()
    assert all(worker.jobs_failed == 0 for worker in running.workers)


async def test_stopping_waits_for_running_jobs(stage: Stage) -> None:
    started, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run_until_told(_tries: int) -> None:
        started.set()
        await may_end.wait()
        ended.set()

    await stage.enqueue([make_event()])
    async with Running(stage, ScriptedJobs(run_until_told)):
        await started.wait()
        # Later than a worker that has failed would wait.
        asyncio.get_running_loop().call_later(1.5, may_end.set)
    assert ended.is_set()
    assert await stage.queue_is_empty()


async def test_a_failed_main_loop_is_restarted(stage: Stage) -> None:
    """Ids that are not text end arq's main loop; jobs behind them are still done in time."""

    async def succeed(_tries: int) -> None:
        return

    jobs = ScriptedJobs(succeed)
    await stage.redis.zadd(QUEUE, {b"\xff\xfe": 1})
    async with Running(stage, jobs) as running:

        async def has_restarted() -> bool:
            return len(running.workers) >= 3

        await eventually(has_restarted)
        await stage.redis.zrem(QUEUE, b"\xff\xfe")
        await stage.enqueue([make_event()])
        await stage.drained()
    assert jobs.runs == 1


async def test_a_job_with_missing_data_is_reported(stage: Stage) -> None:
    async def succeed(_tries: int) -> None:
        return

    jobs = ScriptedJobs(succeed)
    job_id = await stage.enqueue([make_event()])
    await stage.redis.delete(f"arq:job:{job_id}")
    async with Running(stage, jobs) as running:
        await stage.drained()
    assert (running.missing, jobs.runs) == (1, 0)


async def test_a_running_job_is_not_started_again_by_its_own_worker(stage: Stage) -> None:
    may_end = asyncio.Event()

    async def run_until_told(_tries: int) -> None:
        await may_end.wait()

    jobs = ScriptedJobs(run_until_told)
    await stage.enqueue([make_event()])
    async with Running(stage, jobs, job_timeout_s=1) as running:

        async def another_worker_would_take_it() -> bool:
            return jobs.runs == 1 and not await stage.redis.keys("arq:in-progress:*")

        await eventually(another_worker_would_take_it)
        await stage.enqueue([make_event()])

        async def the_next_one_runs() -> bool:
            return jobs.runs > 1

        await eventually(the_next_one_runs)
        assert jobs.runs == 2
        assert len(running.workers[0].tasks) == 2
        may_end.set()


async def test_the_worker_shows_its_health_under_its_own_key(stage: Stage) -> None:
    async def succeed(_tries: int) -> None:
        return

    async with Running(stage, ScriptedJobs(succeed)):

        async def alive() -> bool:
            return bool(await stage.redis.exists(HEALTH_KEY))

        await eventually(alive)
        assert 0 < await stage.redis.pttl(HEALTH_KEY) <= 6000


async def test_a_worker_that_is_cancelled_leaves_no_task(stage: Stage) -> None:
    """As where another part of its process has failed: nobody would end its loop and its jobs."""
    before, started = asyncio.all_tasks(), asyncio.Event()

    async def hang(_: int) -> None:
        started.set()
        await asyncio.Event().wait()

    running = Running(stage, ScriptedJobs(hang))
    await stage.enqueue([make_event()])
    await running.__aenter__()
    async with asyncio.timeout(PATIENCE_S):
        await started.wait()
        running._task.cancel()
        await asyncio.wait({running._task})
        assert running._task.cancelled()
        assert not {task for task in asyncio.all_tasks() - before if not task.done()}
