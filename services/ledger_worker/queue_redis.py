"""arq's client, with round trips to Redis that jobs share.

arq spends five round trips on each job, each with a sync of Redis' append-only file: to check
whether the job is running, to mark it as running, to fetch it and to remove it. Here one script
claims all jobs of a poll, one removes those that are done, and another executes the transactions of
one tick of the event loop.

Scripts also run on a Redis at `maxmemory`, which rejects the writes that arq starts and ends a job
with: the queue that filled Redis could never be emptied.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from arq import ArqRedis
from arq.constants import (
    abort_jobs_ss,
    in_progress_key_prefix,
    job_key_prefix,
    retry_key_prefix,
)
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from libs.common.storage.redis.cluster_client import Routed
from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.scripts import ALLOW_OOM, TextScript

# Claims jobs as arq does, from the head of the queue: those due that do not run. KEYS: as below;
# arq's keys of a job lie beside the queue. ARGV: the time and the lease in ms, the room for jobs
# and for their data in bytes, and how many jobs to look at: others may run those at the head.
# Answers with the id, the time at which it was due and, if it has not been tried, the data of each.
_CLAIM = (
    ALLOW_OOM
    + f"""
local room, bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local claimed, seen, page = {{}}, 0, nil
repeat
  page = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', seen, 100)
  for n = 1, #page, 2 do
    if room == 0 or bytes <= 0 then return claimed end
    local id = page[n]
    if redis.call('SET', '{in_progress_key_prefix}' .. id, '1', 'NX', 'PX', ARGV[2]) then
      local tried = redis.call('EXISTS', '{retry_key_prefix}' .. id) == 1
      local data = not tried and redis.call('GET', '{job_key_prefix}' .. id)
      claimed[#claimed + 1] = id
      claimed[#claimed + 1] = page[n + 1]
      claimed[#claimed + 1] = data
      room = room - 1
      bytes = bytes - (data and #data or 0)
    end
  end
  seen = seen + #page / 2
until #page < 200 or seen >= tonumber(ARGV[5])
return claimed
"""
)
# Removes jobs that are done at their first try. KEYS: as below. ARGV: the jobs' ids.
_FINISH = (
    ALLOW_OOM
    + f"""
local keys = {{}}
for n, id in ipairs(ARGV) do
  keys[2 * n - 1] = '{in_progress_key_prefix}' .. id
  keys[2 * n] = '{job_key_prefix}' .. id
end
redis.call('DEL', unpack(keys))
redis.call('ZREM', KEYS[1], unpack(ARGV))
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

    def __init__(self, *args: Any, pipelined: Pipelined | None = None, **options: Any) -> None:
        """`pipelined` claims and finishes jobs. It outlives the client: it keeps a connection."""
        super().__init__(*args, **options)
        pipelined = pipelined or Pipelined(self)
        self._keys = (self.default_queue_name, f"{self.default_queue_name}:never")
        self._claim = TextScript(pipelined, _CLAIM, self._keys)
        self._finish = TextScript(pipelined, _FINISH, self._keys)
        # Its answers may have errors in them, which redis-py's connection looks for.
        self._commands = self.register_script(_EXECUTE)
        self._waiting: list[_Waiting] = []
        self._flushes: set[asyncio.Task[None]] = set()

    async def claim(
        self, *, room: int, room_bytes: int, look_at: int, now_ms: int, lease_ms: int
    ) -> list[ClaimedJob]:
        """Claims for `lease_ms` at most `room` of the first `look_at` jobs that are due.

        The last one may have more data than there is room for.
        """
        claimed = await self._claim.run(now_ms, lease_ms, room, room_bytes, look_at)
        rows = zip(claimed[::3], claimed[1::3], claimed[2::3], strict=True)
        return [ClaimedJob(id_.decode(), int(float(due)), data) for id_, due, data in rows]

    async def finish(self, job_ids: Sequence[str]) -> None:
        """Removes jobs that are done at their first try."""
        await self._finish.run(*job_ids)

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
