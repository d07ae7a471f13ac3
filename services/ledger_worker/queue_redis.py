"""arq's client for Redis, with as few round trips as jobs can share.

By itself arq spends five round trips on each job, each with a sync of Redis' append-only file: to
look whether it is under way, to say that it is, to fetch it, and to remove it. Here all jobs of a
poll are claimed by one script, and the transactions of one tick of the event loop become one.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from arq import ArqRedis
from arq.constants import in_progress_key_prefix
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

# As arq claims a job: it is in the queue and due, and nobody else has it. KEYS: the queue, then
# what marks each job as under way. ARGV: the time and the lease in ms, for how many jobs there is
# room, then the jobs' ids.
_CLAIM = """
local claimed = {}
for n = 2, #KEYS do
  if #claimed == 2 * tonumber(ARGV[3]) then break end
  local id = ARGV[n + 2]
  local due = redis.call('ZSCORE', KEYS[1], id)
  if due and tonumber(due) <= tonumber(ARGV[1])
    and redis.call('SET', KEYS[n], '1', 'NX', 'PX', ARGV[2]) then
    claimed[#claimed + 1] = id
    claimed[#claimed + 1] = due
  end
end
return claimed
"""

_Commands = list[tuple[Any, Any]]
_Waiting = tuple[_Commands, asyncio.Future[list[Any]]]


class QueueRedis(ArqRedis):
    """What arq's worker asks of Redis about its jobs."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._script = self.register_script(_CLAIM)
        self._waiting: list[_Waiting] = []
        self._flushes: set[asyncio.Task[None]] = set()

    async def claim(
        self, job_ids: Sequence[str], *, room: int, now_ms: int, lease_ms: int
    ) -> list[tuple[str, int]]:
        """Those of the jobs, at most `room`, that nobody else does for `lease_ms`; when each was
        due, in ms.
        """
        keys = [self.default_queue_name, *(in_progress_key_prefix + id_ for id_ in job_ids)]
        claimed = await self._script(keys, [now_ms, lease_ms, room, *job_ids])
        pairs = zip(claimed[::2], claimed[1::2], strict=True)
        return [(id_.decode(), int(float(due))) for id_, due in pairs]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        if not transaction:
            return super().pipeline(transaction, shard_hint)
        return _Part(self, shard_hint)

    def join(self, commands: _Commands) -> asyncio.Future[list[Any]]:
        """Their answers, errors among them, once they have been executed with all that join."""
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
        # Whatever happens here, nobody may wait forever.
        fault: Exception = RedisConnectionError("the transaction was given up")
        answers: list[Any] | None = None
        try:
            async with super().pipeline(transaction=True) as whole:
                for commands, _ in parts:
                    whole.command_stack += commands
                answers = await whole.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            fault = error
        finally:
            _hand_out(parts, answers, fault)


class _Part(Pipeline):
    """A transaction that others may join; what fails in one of them is raised there alone."""

    def __init__(self, redis: QueueRedis, shard_hint: str | None) -> None:
        super().__init__(redis.connection_pool, redis.response_callbacks, True, shard_hint)
        self._redis = redis

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
