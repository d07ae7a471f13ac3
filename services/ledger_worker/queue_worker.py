"""arq's worker with every default set, and the loop that keeps one running.

arq's defaults lose money: an exception is final, a timeout is final, five tries are the last, and
its main loop ends at the first hiccup of Redis.
"""

import asyncio
import random
import sys
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Protocol

import structlog
from arq import func
from arq.worker import Function
from redis.asyncio import Redis

from libs.common.storage.queue.event_queue import (
    CORRECT_JOB,
    DEAD_LETTER_JOB,
    POST_JOB,
    RECORD_JOB,
    REPRICE_JOB,
    Queue,
    decode_job,
    encode_job,
)
from libs.common.storage.redis.pipelining import Pipelined
from libs.common.tasks import end_task
from services.ledger_worker.batched_arq import ClaimingWorker
from services.ledger_worker.health import HEALTH_INTERVAL_S
from services.ledger_worker.queue_redis import QueueRedis

_DAY_S = 24 * 3600
# How long jobs may run on after the main loop ended, before they are cancelled.
_SETTLE_S = 1.0
# A worker that lived this long has recovered; the next failure starts with a short delay again.
_RECOVERED_AFTER_S = 30.0
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 5.0

log = structlog.get_logger(__name__)


class QueueJobs(Protocol):
    """The handlers of the queue's jobs; see `services.ledger_worker.jobs`."""

    async def post(self, ctx: dict[Any, Any], payload: bytes) -> None:
        """`events.post`"""

    async def post_together(self, payloads: Mapping[str, bytes]) -> set[str]:
        """First tries of `events.post`, by job id. Returns the ids of those that are done."""

    async def dead_letter(self, ctx: dict[Any, Any], job: bytes) -> None:
        """`events.bury`"""

    async def correct(self, ctx: dict[Any, Any], payload: bytes) -> None:
        """`corrections.post`"""

    async def reprice(self, ctx: dict[Any, Any], payload: bytes) -> None:
        """`corrections.reprice`"""

    async def record(self, ctx: dict[Any, Any], payload: bytes) -> None:
        """`recordings.store`"""


class QueueWorker(ClaimingWorker):
    """Counts and logs queued jobs whose data is gone; arq drops them silently."""

    on_missing: Callable[[], None]

    async def finish_failed_job(self, job_id: str, result_data: bytes | None) -> None:
        """arq calls this for one reason only: a queued job has no data."""
        self.on_missing()
        log.error(
            "job.data_missing",
            job_id=job_id,
            cause="another worker has just finished it, or Redis has lost it: set its "
            "maxmemory-policy to noeviction",
        )
        await super().finish_failed_job(job_id, result_data)


def _functions(jobs: QueueJobs) -> list[Function]:
    """The functions that a queued job can name."""
    return [
        func(jobs.post, name=POST_JOB),
        func(jobs.dead_letter, name=DEAD_LETTER_JOB),
        func(jobs.correct, name=CORRECT_JOB),
        func(jobs.reprice, name=REPRICE_JOB),
        func(jobs.record, name=RECORD_JOB),
    ]


def _client(redis: Redis, pipelined: Pipelined | None, queue: Queue) -> QueueRedis:
    return QueueRedis(
        redis.connection_pool,
        pipelined=pipelined,
        job_serializer=encode_job,
        job_deserializer=decode_job,
        default_queue_name=queue.name,
    )


def create_worker(
    jobs: QueueJobs,
    redis: Redis,
    queue: Queue,
    *,
    health_key: str,
    max_jobs: int,
    job_timeout_s: float,
    on_missing: Callable[[], None],
    pipelined: Pipelined | None = None,
) -> QueueWorker:
    """A worker for one life of the connection to Redis; see `keep_working`. `health_key` has to
    lie in the queue's slot. `pipelined` is the connection that its scripts share with others.
    """
    client = _client(redis, pipelined, queue)
    worker = QueueWorker(
        functions=_functions(jobs),
        queue_name=queue.name,
        # No work is scheduled by time.
        cron_jobs=None,
        # arq's own client has no timeout for commands: a Redis that falls silent would hang it.
        redis_pool=client,
        # Run until stopped, not until the queue is empty.
        burst=False,
        # The process handles signals; it may run several workers, one after another.
        handle_signals=False,
        # Only arq's signal handlers use it; `keep_working` waits for jobs instead.
        job_completion_wait=0,
        # Jobs share transactions, so many at a time make these larger and not more numerous.
        max_jobs=max_jobs,
        # arq drops a job that times out, so this timeout must never expire. Jobs have a deadline
        # of their own; after a suspension (a paused virtual machine) both would expire at once.
        job_timeout=_DAY_S,
        # Results have no reader, and while one exists arq rejects another job of the same id.
        keep_result=0,
        keep_result_forever=False,
        # The delay until an entry is visible. Jobs that arrive within it share claims, transactions
        # and syncs to disk; a shorter delay costs more CPU time per call at low load.
        poll_delay=0.25,
        # Running jobs of all workers stay at the head of the queue. A poll must read past them, or
        # a worker would see its siblings' jobs only.
        queue_read_limit=max(1000, 10 * max_jobs),
        # arq drops a job after this many tries.
        max_tries=sys.maxsize,
        # Probes notice a dead worker after this time.
        health_check_interval=HEALTH_INTERVAL_S,
        health_check_key=health_key,
        # Otherwise Retry and cancellation would be final.
        retry_jobs=True,
        # A posting must not be aborted.
        allow_abort_jobs=False,
        job_serializer=encode_job,
        job_deserializer=decode_job,
        # Applies to jobs that arq itself enqueues; the gateway writes jobs without an expiry.
        expires_extra_ms=365 * _DAY_S * 1000,
        # The ledger is the record of results.
        log_results=False,
    )
    # arq would redeliver a dead worker's jobs only ten seconds after `job_timeout`.
    worker.in_progress_timeout_s = job_timeout_s
    worker.redis = client
    worker.post_together = jobs.post_together
    worker.picking = asyncio.Lock()
    worker.posting = worker.loop.create_future()
    worker.posting.set_result([])
    worker.on_missing = on_missing
    return worker


async def keep_working(
    new_worker: Callable[[], QueueWorker], stop: asyncio.Event, *, grace_s: float
) -> None:
    """Starts a new worker whenever arq's main loop ends, as it does when Redis is unavailable.

    A worker is not reused: an interrupted loop leaves its count of running jobs wrong. Once `stop`
    is set, running jobs have `grace_s` to finish.
    """
    failures = 0
    while not stop.is_set():
        worker, started_s = new_worker(), monotonic()
        main = asyncio.create_task(worker.main())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({main, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                await _drain(worker, grace_s)
        finally:
            # Also where this is cancelled: nobody else would end them.
            stopping.cancel()
            await _retire(worker, main)
        if stop.is_set():
            return
        failures = 1 if monotonic() - started_s > _RECOVERED_AFTER_S else failures + 1
        delay_s = min(_FIRST_DELAY_S * 2.0 ** min(failures, 16), _MAX_DELAY_S)
        log.warning(
            "queue.unavailable",
            queue=worker.queue_name,
            error=_failure(main),
            next_try_s=round(delay_s, 1),
        )
        await pause(stop, delay_s * random.uniform(0.5, 1.0))


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleeps, but not beyond `stop`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def _drain(worker: QueueWorker, grace_s: float) -> None:
    """Claims no new jobs; lets running jobs, and those being claimed, finish."""
    worker.allow_pick_jobs = False
    try:
        async with asyncio.timeout(grace_s):
            async with worker.picking:
                pass
            while tasks := [task for task in worker.tasks.values() if not task.done()]:
                await asyncio.wait(tasks)
    except TimeoutError:
        log.warning("jobs.unfinished", jobs=len(worker.tasks))


async def _retire(worker: QueueWorker, main: asyncio.Task[None]) -> None:
    """Ends the main loop, then its jobs. A job that cannot be requeued is redelivered later."""
    await end_task(main, again_s=_SETTLE_S)
    tasks = list(worker.tasks.values())
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=_SETTLE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _failure(main: asyncio.Task[None]) -> BaseException | None:
    return None if main.cancelled() else main.exception()
