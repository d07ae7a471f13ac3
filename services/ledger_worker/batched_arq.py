"""arq's client and worker, with round trips to Redis that jobs share.

arq spends five round trips on each job, each with a sync of Redis' append-only file: to check
whether the job is running, to mark it as running, to fetch it and to remove it. Here one script
claims all jobs of a poll, and another executes the transactions of one tick of the event loop.

Most jobs post a few events and succeed at once. The first tries of a poll's posting jobs are one
call of their handler and one transaction that removes them, without arq's tasks, timers and logging
for each. arq itself runs whatever is left over.

Scripts also run on a Redis at `maxmemory`, which rejects the writes that arq starts and ends a job
with: the queue that filled Redis could never be emptied.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from time import monotonic
from typing import Any

import msgspec
from arq import ArqRedis, Retry, Worker
from arq.constants import (
    abort_jobs_ss,
    in_progress_key_prefix,
    job_key_prefix,
    retry_key_prefix,
)
from arq.utils import timestamp_ms
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from libs.common.storage.queue.event_queue import POST_JOB, decode_job
from libs.common.storage.redis.cluster_client import Routed
from libs.common.storage.redis.scripts import ALLOW_OOM

# Jobs that one script checks. With one worker most are free; with several, the head of the queue
# holds the jobs that the others are running.
_CLAIMED_AT_ONCE = 200
# How long one poll may claim jobs before the main loop renews its health key.
_PICKING_S = 0.5
# How long arq counts a job's tries.
_TRIES_KEPT_S = 88_400
# Claims jobs as arq does: in the queue, due and not running. KEYS: the queue, then of each job the
# keys that say that it runs, that have its data and that count its tries. ARGV: the time and the
# lease in ms, the room for jobs, then the jobs' ids. Answers with the id, the time at which it was
# due and, if it has not been tried, the data of each.
_CLAIM = (
    ALLOW_OOM
    + """
local claimed = {}
for n = 4, #ARGV do
  if #claimed == 3 * tonumber(ARGV[3]) then break end
  local id, running = ARGV[n], 3 * n - 10
  local due = redis.call('ZSCORE', KEYS[1], id)
  if due and tonumber(due) <= tonumber(ARGV[1])
    and redis.call('SET', KEYS[running], '1', 'NX', 'PX', ARGV[2]) then
    local tried = redis.call('EXISTS', KEYS[running + 2]) == 1
    claimed[#claimed + 1] = id
    claimed[#claimed + 1] = due
    claimed[#claimed + 1] = not tried and redis.call('GET', KEYS[running + 1])
  end
end
return claimed
"""
)
# Executes commands atomically, as a transaction does. KEYS: the queue, in whose slot all keys of
# the commands lie, and one that never exists: while a cluster moves the slot key by key, the server
# then executes nothing, and does not take keys that have moved for missing. ARGV: the commands as
# JSON, since their arguments are texts and cmsgpack does not read MessagePack's bytes.
_EXECUTE = (
    ALLOW_OOM
    + """
local answers = {}
for n, command in ipairs(cjson.decode(ARGV[1])) do
  answers[n] = redis.pcall(unpack(command))
end
return answers
"""
)


class ClaimedJob(msgspec.Struct, frozen=True):
    """`due_ms` is when it was due; `data` is None for a job that was tried, or that has none."""

    job_id: str
    due_ms: int
    data: bytes | None


_Commands = list[tuple[Any, Any]]
_Waiting = tuple[_Commands, asyncio.Future[list[Any]]]


# redis-py's types of its modules' commands contradict those of its own.
class QueueRedis(Routed, ArqRedis):  # type: ignore[misc]
    """arq's client; transactions of one tick of the event loop share a script."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._keys = (self.default_queue_name, f"{self.default_queue_name}:never")
        self._claim = self.register_script(_CLAIM)
        self._commands = self.register_script(_EXECUTE)
        self._waiting: list[_Waiting] = []
        self._flushes: set[asyncio.Task[None]] = set()

    async def claim(
        self, job_ids: Sequence[str], *, room: int, now_ms: int, lease_ms: int
    ) -> list[ClaimedJob]:
        """Claims at most `room` of the jobs for `lease_ms`."""
        prefixes = (in_progress_key_prefix, job_key_prefix, retry_key_prefix)
        keys = [prefix + job_id for job_id in job_ids for prefix in prefixes]
        arguments: list[str | int] = [now_ms, lease_ms, room, *job_ids]
        claimed = await self._claim([self.default_queue_name, *keys], arguments)
        rows = zip(claimed[::3], claimed[1::3], claimed[2::3], strict=True)
        return [ClaimedJob(id_.decode(), int(float(due)), data) for id_, due, data in rows]

    async def run(self, *commands: tuple[Any, ...]) -> None:
        """Executes the commands with others of this tick. Raises the first error."""
        for answer in await self.join([(command, {}) for command in commands]):
            if isinstance(answer, Exception):
                raise answer

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        if not transaction:
            return super().pipeline(transaction, shard_hint)
        return _Part(self, shard_hint)

    async def psetex(self, name: Any, time_ms: Any, value: Any) -> None:
        """Writes arq's health key, of the queue's slot; arq's main loop ends without it."""
        await self.run(("PSETEX", name, time_ms, value))

    def join(self, commands: _Commands) -> asyncio.Future[list[Any]]:
        """Executes the commands with others of this tick. Resolves to answers and errors."""
        loop = asyncio.get_running_loop()
        answers: asyncio.Future[list[Any]] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((commands, answers))
        return answers

    def _flush(self) -> None:
        parts, self._waiting = self._waiting, []
        task = asyncio.create_task(self._execute(parts))
        self._flushes.add(task)
        task.add_done_callback(self._flushes.discard)

    async def _execute(self, parts: Sequence[_Waiting]) -> None:
        # Whatever happens here, every waiter gets an answer.
        fault: Exception = RedisConnectionError("the transaction was given up")
        answers: list[Any] | None = None
        try:
            encode = self.get_encoder().encode  # type: ignore[no-untyped-call]
            commands = [
                [encode(argument).decode() for argument in command]
                for part, _ in parts
                for command, _ in part
            ]
            answers = await self._commands(self._keys, [msgspec.json.encode(commands)])
        except (RedisError, OSError) as error:
            fault = error
        finally:
            _hand_out(parts, answers, fault)


class ClaimingWorker(Worker):
    """arq's worker, claiming many jobs in one round trip. The creator sets the fields below."""

    redis: QueueRedis
    # Posts the payloads of jobs, by job id. Returns the ids of the jobs that are done; arq tries
    # the others one by one. Raises Retry only.
    post_together: Callable[[Mapping[str, bytes]], Awaitable[set[str]]]
    # Held while jobs are claimed, so that a stopping worker leaves no claimed job unstarted.
    picking: asyncio.Lock

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Claims as many of them as there is room for, and starts those that nobody else has.

        Where there is no more room, it waits for some instead of for the next poll, or a worker
        could do no more than `max_jobs` between two of them. The claim is atomic: a job whose
        claim no answer came for is redelivered when the claim ends, like one whose worker died.
        """
        async with self.picking:
            give_up_at = monotonic() + _PICKING_S
            waiting = [id_ for id_ in map(bytes.decode, job_ids) if id_ not in self.tasks]
            while waiting and self.allow_pick_jobs and monotonic() < give_up_at:
                room = self.max_jobs - self.job_counter
                if room <= 0:
                    await self._any_done(give_up_at - monotonic())
                    continue
                some = waiting[: max(room, _CLAIMED_AT_ONCE)]
                claimed = await self.redis.claim(
                    some,
                    room=room,
                    now_ms=timestamp_ms(),
                    lease_ms=int(self.in_progress_timeout_s * 1000),
                )
                await self._start_all(claimed)
                full = len(claimed) >= room
                looked_at = some.index(claimed[-1].job_id) + 1 if full else len(some)
                waiting = waiting[looked_at:]

    async def _any_done(self, timeout_s: float) -> None:
        running = [task for task in self.tasks.values() if not task.done()]
        if running:
            await asyncio.wait(running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        else:
            # All tasks are done; the next tick updates the counter.
            await asyncio.sleep(0)

    async def _start_all(self, jobs: Sequence[ClaimedJob]) -> None:
        payloads: dict[str, bytes] = {}
        for job in jobs:
            read = None if job.data is None else decode_job(job.data)
            if read is not None and read["f"] == POST_JOB:
                payloads[job.job_id] = read["a"][0]
        together = [job for job in jobs if job.job_id in payloads]
        if together:
            await self._start(together, self._run_together(together, payloads))
        for job in jobs:
            if job.job_id not in payloads:
                await self._start([job], self.run_job(job.job_id, job.due_ms))

    async def _start(self, jobs: Sequence[ClaimedJob], work: Coroutine[Any, Any, None]) -> None:
        for _ in jobs:
            # There is room, so this does not block: a claimed job is always started.
            await self.sem.acquire()
            self.job_counter += 1
        task = self.loop.create_task(work)
        for job in jobs:
            task.add_done_callback(lambda _: self._release_sem_dec_counter_on_complete())
            self.tasks[job.job_id] = task

    async def _run_together(
        self, jobs: Sequence[ClaimedJob], payloads: Mapping[str, bytes]
    ) -> None:
        try:
            done = await self.post_together(payloads)
        except Retry as retry:
            await asyncio.shield(self._put_back(jobs, retry.defer_score or 0))
            return
        if done:
            self.jobs_complete += len(done)
            await asyncio.shield(self._remove(sorted(done)))
        left = [job for job in jobs if job.job_id not in done]
        await asyncio.gather(*(self.run_job(job.job_id, job.due_ms) for job in left))

    async def _remove(self, job_ids: Sequence[str]) -> None:
        keys = [p + id_ for id_ in job_ids for p in (in_progress_key_prefix, job_key_prefix)]
        await self.redis.run(("DEL", *keys), ("ZREM", self.queue_name, *job_ids))

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


class _Part(Pipeline):
    """A transaction that shares a script with others; each raises its own errors only."""

    def __init__(self, redis: QueueRedis, shard_hint: str | None) -> None:
        super().__init__(redis.connection_pool, redis.response_callbacks, True, shard_hint)
        self._redis = redis

    def zrem(self, name: Any, *values: Any) -> Any:
        # No job is ever aborted, and arq's set of those lies in another slot than most queues.
        return self if name == abort_jobs_ss else super().zrem(name, *values)

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands, self.command_stack = self.command_stack, []
        answers = await self._redis.join(commands)
        if raise_on_error:
            self.raise_first_error(commands, answers)
        return answers


def _hand_out(parts: Sequence[_Waiting], answers: list[Any] | None, fault: Exception) -> None:
    start = 0
    for commands, future in parts:
        end = start + len(commands)
        if not future.done():
            if answers is None:
                future.set_exception(fault)
            else:
                future.set_result(answers[start:end])
        start = end
