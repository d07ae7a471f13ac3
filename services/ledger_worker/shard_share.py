"""Decides which shards of a Redis Cluster this process works on.

Each process says at every shard that it is there, and works out its share from who else is. While
processes come and go, a shard has two workers or none for seconds. A shard that falls behind is
worked on by all: it has more to do than others, or a worker that does nothing. Any of this costs
time only, because a job is claimed by one worker, and posted once however often it is delivered.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

import msgspec
import structlog

from libs.common.storage.redis.answers import answers_of
from libs.common.storage.redis.shard_workers import Presence, ShardWorkers
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
    worker: str,
    late_ms: int,
    look_s: float = _LOOK_S,
) -> None:
    """Until `stop`: works on this process's share, and returns once that has ended.

    A shard whose first job has been due for `late_ms` is everybody's. Two processes with the same
    name have the same share.
    """
    share = _Share(worker, others.count, late_ms, work)
    async with asyncio.TaskGroup() as tasks:
        while not stop.is_set():
            share.adjust(await _announce(others, worker), tasks)
            await pause(stop, look_s)
        share.end()
        leaving = (others.leave(shard, worker) for shard in range(others.count))
        # Those that it cannot tell find out by themselves.
        await asyncio.gather(*leaving, return_exceptions=True)


async def _announce(others: ShardWorkers, worker: str) -> list[Presence | None]:
    """By shard; None while its server is away."""
    announcements = (others.announce(shard, worker) for shard in range(others.count))
    answers = await answers_of(announcements)
    return [answer if isinstance(answer, Presence) else None for answer in answers]


class _Share:
    """The shards that this process works on now."""

    def __init__(self, worker: str, count: int, late_ms: int, work: Work) -> None:
        self._worker = worker
        self._count = count
        self._late_ms = late_ms
        self._work = work
        self._working: dict[int, _Working] = {}

    def adjust(self, presences: Sequence[Presence | None], tasks: asyncio.TaskGroup) -> None:
        """Starts and ends work. Work on a shard whose server is away goes on: it waits there."""
        before = set(self._working)
        self._working = {n: each for n, each in self._working.items() if not each.task.done()}
        for shard, presence in enumerate(presences):
            if presence is None:
                continue
            working = self._working.get(shard)
            if not self._has(shard, presence):
                if working is not None:
                    working.stop.set()
            elif working is None:
                stop = asyncio.Event()
                task = tasks.create_task(self._work(shard, stop))
                self._working[shard] = _Working(stop, task)
        if set(self._working) != before:
            workers = max((len(each.workers) for each in presences if each is not None), default=0)
            log.info("shards.shared", shards=len(self._working), of=self._count, workers=workers)

    def _has(self, shard: int, presence: Presence) -> bool:
        return presence.late_ms > self._late_ms or is_dealt(
            shard, self._count, self._worker, presence.workers
        )

    def end(self) -> None:
        for working in self._working.values():
            working.stop.set()
