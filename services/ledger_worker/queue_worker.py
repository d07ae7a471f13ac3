"""arq's worker with every default set, and the loop that keeps one running.

arq's defaults lose money: an exception is final, a timeout is final, five tries are the last, and
its main loop ends at the first hiccup of Redis.
"""

import asyncio
import random
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

import structlog
from arq import func
from arq.worker import Function
from redis.asyncio import Redis

from libs.common.storage.queue.event_queue import (
    BURY_JOB,
    CORRECT_JOB,
    POST_JOB,
    QUEUE,
    RECORD_JOB,
    REPRICE_JOB,
    decode_job,
    encode_job,
)
from services.ledger_worker.batched_arq import ClaimingWorker, QueueRedis
from services.ledger_worker.health import HEALTH_INTERVAL_S

_DAY_S = 24 * 3600
# When the main loop has ended, how long its jobs may take to finish before they are cancelled.
_SETTLE_S = 1.0
# A worker that lived this long has recovered; the next failure starts with a short delay again.
_RECOVERED_AFTER_S = 30.0
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 5.0

log = structlog.get_logger(__name__)


class QueueJobs(Protocol):
    """What the queue's jobs are handed to; see `services.ledger_worker.jobs`."""

    async def post(self, ctx: dict[Any, Any], payload: bytes) -> None:
        """`events.post`"""

    async def bury(self, ctx: dict[Any, Any], job: bytes) -> None:
        """`events.bury`"""

    async def correct(self, ctx: dict[Any, Any], payload: bytes) -> None:
        """`corrections.post`"""

    async def reprice(self, ctx: dict[Any, Any], payload: bytes) -> None:
        """`corrections.reprice`"""

    async def record(self, ctx: dict[Any, Any], payload: bytes) -> None:
        """`recordings.store`"""


class QueueWorker(ClaimingWorker):
    """arq's worker, which does not lose any job silently."""

    on_missing: Callable[[], None]

    async def finish_failed_job(self, job_id: str, result_data: bytes | None) -> None:
        """Comes about for one reason only: the job is in the queue, but its data is gone."""
        self.on_missing()
        log.error(
            "job.data_missing",
            job_id=job_id,
            cause="another worker has just finished it, or Redis has lost it: set its "
            "maxmemory-policy to noeviction",
        )
        await super().finish_failed_job(job_id, result_data)


def _functions(jobs: QueueJobs) -> list[Function]:
    """What the queue's jobs may name."""
    return [
        func(jobs.post, name=POST_JOB),
        func(jobs.bury, name=BURY_JOB),
        func(jobs.correct, name=CORRECT_JOB),
        func(jobs.reprice, name=REPRICE_JOB),
        func(jobs.record, name=RECORD_JOB),
    ]


def create_worker(
    jobs: QueueJobs,
    redis: Redis,
    *,
    health_key: str,
    max_jobs: int,
    job_timeout_s: float,
    on_missing: Callable[[], None],
) -> QueueWorker:
    """A worker for one life of the connection to Redis; see `keep_working`."""
    queue = QueueRedis(
        redis.connection_pool,
        job_serializer=encode_job,
        job_deserializer=decode_job,
        default_queue_name=QUEUE,
    )
    worker = QueueWorker(
        functions=_functions(jobs),
        queue_name=QUEUE,
        # No work is scheduled by time.
        cron_jobs=None,
        # arq's own client has no timeout for commands: a Redis that falls silent would hang it.
        redis_pool=queue,
        # It works until it is told to stop, not until the queue is empty.
        burst=False,
        # Several workers may follow each other in one process, which handles signals itself.
        handle_signals=False,
        # Only arq's signal handlers use it; `keep_working` waits for jobs instead.
        job_completion_wait=0,
        # Jobs share transactions, so many at a time make these larger and not more numerous.
        max_jobs=max_jobs,
        # arq drops a job that times out, so this one must never strike: jobs end themselves, and
        # after a suspension (a paused virtual machine) both timeouts would be due at once.
        job_timeout=_DAY_S,
        # Nobody reads results, and while one lives arq refuses another job of the same id.
        keep_result=0,
        keep_result_forever=False,
        # The delay until an entry shows. What comes in between shares claims, transactions and
        # syncs to disk: a shorter one costs more CPU time per call at low load.
        poll_delay=0.1,
        # Jobs under way stay at the head of the queue, those of other workers too: what is read
        # must reach past them all, or a worker would see nothing but its siblings' jobs.
        queue_read_limit=max(1000, 10 * max_jobs),
        # A job that has failed too often is dropped. None ever has.
        max_tries=sys.maxsize,
        # The probes' resolution.
        health_check_interval=HEALTH_INTERVAL_S,
        health_check_key=health_key,
        # Without it Retry and cancellation are final too.
        retry_jobs=True,
        # Nobody may abort a posting.
        allow_abort_jobs=False,
        job_serializer=encode_job,
        job_deserializer=decode_job,
        # The gateway writes jobs without an expiry; this is for those that arq itself enqueues.
        expires_extra_ms=365 * _DAY_S * 1000,
        # What was posted is in the ledger.
        log_results=False,
    )
    # arq waits ten seconds more than `job_timeout` until it takes up a dead worker's jobs.
    worker.in_progress_timeout_s = job_timeout_s
    worker.redis = queue
    worker.picking = asyncio.Lock()
    worker.on_missing = on_missing
    return worker


async def keep_working(
    new_worker: Callable[[], QueueWorker], stop: asyncio.Event, *, grace_s: float
) -> None:
    """One worker after another, because arq's main loop ends when Redis goes away.

    A fresh one each time: an interrupted loop leaves its count of running jobs wrong. Once `stop`
    is set, jobs under way have `grace_s` to finish.
    """
    failures = 0
    while not stop.is_set():
        worker, began = new_worker(), monotonic()
        main = asyncio.create_task(worker.main())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({main, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if stop.is_set():
            await _drain(worker, grace_s)
        await _retire(worker, main)
        if stop.is_set():
            return
        failures = 1 if monotonic() - began > _RECOVERED_AFTER_S else failures + 1
        delay_s = min(_FIRST_DELAY_S * 2.0 ** min(failures, 16), _MAX_DELAY_S)
        log.warning("queue.unavailable", error=_failure(main), next_try_s=round(delay_s, 1))
        await pause(stop, delay_s * random.uniform(0.5, 1.0))


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleeps, but not beyond `stop`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def _drain(worker: QueueWorker, grace_s: float) -> None:
    """No new jobs; those under way, or just being claimed, may finish."""
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
    """Ends the main loop, then its jobs. A job that cannot be put back is redelivered later."""
    while not main.done():
        # One cancellation may get lost on its way out of the Redis client.
        main.cancel()
        await asyncio.wait({main}, timeout=_SETTLE_S)
    tasks = list(worker.tasks.values())
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=_SETTLE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _failure(main: asyncio.Task[None]) -> BaseException | None:
    return None if main.cancelled() else main.exception()
