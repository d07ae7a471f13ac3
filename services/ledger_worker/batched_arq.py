"""arq's worker, which claims many jobs in one round trip and posts them together.

Most jobs post a few events and succeed at once. The first tries of a poll's posting jobs are one
call of their handler and one script that removes them, without arq's tasks, timers and logging for
each. arq itself runs whatever is left over.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from time import monotonic
from typing import Any

from arq import Retry, Worker
from arq.constants import in_progress_key_prefix, retry_key_prefix
from arq.utils import timestamp_ms

from libs.common.storage.queue.event_queue import payload_of_post
from services.ledger_worker.queue_redis import ClaimedJob, QueueRedis

# Room for the encoded jobs of a claim, for each of `max_jobs`: some eight events. So even a slow
# MongoDB takes them all before their deadline.
_BYTES_PER_JOB = 4096
# How long one poll may claim jobs before the main loop renews its health key.
_PICKING_S = 0.5
# How long arq counts a job's tries.
_TRIES_KEPT_S = 88_400


class ClaimingWorker(Worker):
    """arq's worker, claiming many jobs in one round trip. The creator sets the fields below."""

    redis: QueueRedis
    # Posts the payloads of jobs, by job id. Returns the ids of the jobs that are done; arq tries
    # the others one by one. Raises Retry only.
    post_together: Callable[[Mapping[str, bytes]], Awaitable[set[str]]]
    # Held while jobs are claimed, so that a stopping worker leaves no claimed job unstarted.
    picking: asyncio.Lock
    # The first tries that are posted together.
    posting: asyncio.Future[list[ClaimedJob]]

    async def _poll_iteration(self) -> None:
        await self.pick()
        for job_id, task in list(self.tasks.items()):
            if task.done():
                del self.tasks[job_id]
                # What a job raises ends the main loop.
                task.result()
        await self.heart_beat()

    async def pick(self) -> None:
        """Claims as many jobs as there is room for, and starts them.

        Jobs that come in while others are posted together wait for those, and are then posted
        together too; so do those for which there is no more room. Neither waits for the next poll.
        The claim is atomic: a job whose claim no answer came for is redelivered when the claim
        ends, like one whose worker died.
        """
        room_bytes = _BYTES_PER_JOB * self.max_jobs
        async with self.picking:
            give_up_at = monotonic() + _PICKING_S
            while self.allow_pick_jobs and monotonic() < give_up_at:
                room = self.max_jobs - self.job_counter
                if room <= 0 or not self.posting.done():
                    await self._any_done(give_up_at - monotonic())
                    continue
                claimed = await self.redis.claim(
                    room=room,
                    room_bytes=room_bytes,
                    look_at=self.queue_read_limit,
                    now_ms=timestamp_ms(),
                    lease_ms=int(self.in_progress_timeout_s * 1000),
                )
                self._start_all(claimed)
                size = sum(len(job.data) for job in claimed if job.data is not None)
                if len(claimed) < room and size < room_bytes:
                    return

    async def _any_done(self, timeout_s: float) -> None:
        running = [each for each in (self.posting, *self.tasks.values()) if not each.done()]
        if running:
            await asyncio.wait(running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        else:
            # All tasks are done; the next tick updates the counter.
            await asyncio.sleep(0)

    def _start_all(self, claimed: Sequence[ClaimedJob]) -> None:
        # A claim that ended while its job still runs here is renewed.
        jobs = [job for job in claimed if not self._runs(job.job_id)]
        payloads: dict[str, bytes] = {}
        for job in jobs:
            payload = None if job.data is None else payload_of_post(job.data)
            if payload is not None:
                payloads[job.job_id] = payload
        together = [job for job in jobs if job.job_id in payloads]
        if together:
            self.posting = self.loop.create_task(self._post(together, payloads))
            self._start(together, self._run_left(self.posting))
        for job in jobs:
            if job.job_id not in payloads:
                self._start([job], self.run_job(job.job_id, job.due_ms))

    def _runs(self, job_id: str) -> bool:
        task = self.tasks.get(job_id)
        return task is not None and not task.done()

    def _start(self, jobs: Sequence[ClaimedJob], work: Coroutine[Any, Any, None]) -> None:
        def release(_: asyncio.Task[None]) -> None:
            self.job_counter -= len(jobs)

        self.job_counter += len(jobs)
        task = self.loop.create_task(work)
        task.add_done_callback(release)
        self.tasks |= dict.fromkeys((job.job_id for job in jobs), task)

    async def _post(
        self, jobs: Sequence[ClaimedJob], payloads: Mapping[str, bytes]
    ) -> list[ClaimedJob]:
        """Returns the jobs that are left over, which nothing else waits for."""
        try:
            done = await self.post_together(payloads)
        except Retry as retry:
            await asyncio.shield(self._put_back(jobs, retry.defer_score or 0))
            return []
        if done:
            self.jobs_complete += len(done)
            await asyncio.shield(self.redis.finish(sorted(done)))
        return [job for job in jobs if job.job_id not in done]

    async def _run_left(self, posting: asyncio.Future[list[ClaimedJob]]) -> None:
        left = await posting
        await asyncio.gather(*(self.run_job(job.job_id, job.due_ms) for job in left))

    async def _put_back(self, jobs: Sequence[ClaimedJob], delay_ms: int) -> None:
        """As arq does after a Retry: the try is counted."""
        self.jobs_retried += len(jobs)
        due_ms = timestamp_ms() + delay_ms
        commands: list[tuple[Any, ...]] = []
        for job in jobs:
            tries = retry_key_prefix + job.job_id
            commands += [
                ("INCR", tries),
                ("EXPIRE", tries, _TRIES_KEPT_S),
                ("ZADD", self.queue_name, "XX", due_ms, job.job_id),
                ("DEL", in_progress_key_prefix + job.job_id),
            ]
        await self.redis.run(*commands)
