"""Which shards this process works on, where a Redis cluster has many.

Each process says at every shard that it is there, and works out its share from who else is. While
processes come and go, a shard has two workers or none for seconds: that costs time only, because a
job is claimed by one of them, and posted once however often it is delivered.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from uuid import uuid4

import msgspec
import structlog

from libs.common.storage.redis.client import RedisError
from libs.common.storage.redis.shard_workers import ShardWorkers
from services.ledger_worker.queue_worker import pause

_LOOK_S = 2.0
# Several late announcements pass before a process counts as gone.
GONE_AFTER_MS = 10_000

log = structlog.get_logger(__name__)

# Works on a shard until the event is set.
Work = Callable[[int, asyncio.Event], Coroutine[None, None, None]]


class _Working(msgspec.Struct, frozen=True):
    stop: asyncio.Event
    task: asyncio.Task[None]


def is_dealt(shard: int, count: int, worker: str, workers: Sequence[str]) -> bool:
    """Whether one of `workers` has the shard in its share; all that see the same ones agree.

    Shares differ by one shard at most. Where there are more workers than shards, some share one.
    """
    place = workers.index(worker)
    if len(workers) <= count:
        return shard % len(workers) == place
    return place % count == shard


async def share_shards(
    others: ShardWorkers,
    work: Work,
    stop: asyncio.Event,
    *,
    worker: str | None = None,
    look_s: float = _LOOK_S,
) -> None:
    """Until `stop`: works on this process's share, and returns once that has ended."""
    worker = worker or uuid4().hex
    share = _Share(worker, others.count, work)
    async with asyncio.TaskGroup() as tasks:
        while not stop.is_set():
            share.adjust(await _announced(others, worker), tasks)
            await pause(stop, look_s)
        share.end()
        leaving = (others.leave(shard, worker) for shard in range(others.count))
        # Those that it cannot tell find out by themselves.
        await asyncio.gather(*leaving, return_exceptions=True)


async def _announced(others: ShardWorkers, worker: str) -> list[Sequence[str] | None]:
    """By shard: who works there, or None while its server is away."""
    asked = (others.announce(shard, worker) for shard in range(others.count))
    found: list[Sequence[str] | None] = []
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(answer, RedisError | OSError):
            found.append(None)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found.append(answer)
    return found


class _Share:
    """The shards that this process works on now."""

    def __init__(self, worker: str, count: int, work: Work) -> None:
        self._worker = worker
        self._count = count
        self._work = work
        self._working: dict[int, _Working] = {}

    def adjust(self, found: Sequence[Sequence[str] | None], tasks: asyncio.TaskGroup) -> None:
        """Starts and ends work. Work on a shard whose server is away goes on: it waits there."""
        before = set(self._working)
        self._working = {n: each for n, each in self._working.items() if not each.task.done()}
        for shard, workers in enumerate(found):
            if workers is None:
                continue
            working = self._working.get(shard)
            if not is_dealt(shard, self._count, self._worker, workers):
                if working is not None:
                    working.stop.set()
            elif working is None:
                stop = asyncio.Event()
                task = tasks.create_task(self._work(shard, stop))
                self._working[shard] = _Working(stop, task)
        if set(self._working) != before:
            most = max((len(workers) for workers in found if workers is not None), default=0)
            log.info("shards.shared", shards=len(self._working), of=self._count, workers=most)

    def end(self) -> None:
        for working in self._working.values():
            working.stop.set()
