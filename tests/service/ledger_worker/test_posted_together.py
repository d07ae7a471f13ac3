"""First tries of posting jobs, which one call of the handler and one transaction take together."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from arq import Retry
from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix

from libs.common.storage.queue.event_queue import QUEUE
from services.ledger_worker.assembly import open_jobs
from tests.service.ledger_worker.test_queue_worker import Running, ScriptedJobs
from tests.service.ledger_worker.worker_stage import (
    Stage,
    altered,
    batch_of_raws,
    make_event,
    settings_for,
)

Together = Callable[[Mapping[str, bytes]], Awaitable[set[str]]]


class JobsTogether(ScriptedJobs):
    """Takes posting jobs together as the test says; those left over succeed alone."""

    def __init__(self, together: Together) -> None:
        super().__init__(self._succeed)
        self.calls: list[list[str]] = []
        self.alone: list[tuple[str, int]] = []
        self._together = together

    async def post_together(self, payloads: Mapping[str, bytes]) -> set[str]:
        self.calls.append(sorted(payloads))
        return await self._together(payloads)

    async def post(self, ctx: dict[Any, Any], payload: bytes) -> None:
        self.alone.append((ctx["job_id"], ctx["job_try"]))
        await super().post(ctx, payload)

    @staticmethod
    async def _succeed(_tries: int) -> None:
        return


async def enqueued(stage: Stage, number: int) -> list[str]:
    return sorted([await stage.enqueue([make_event()]) for _ in range(number)])


async def keys_of(stage: Stage, job_ids: Sequence[str]) -> list[str]:
    prefixes = (job_key_prefix, in_progress_key_prefix, retry_key_prefix)
    names = [prefix + job_id for job_id in job_ids for prefix in prefixes]
    return [name for name in names if await stage.redis.exists(name)]


async def test_jobs_of_one_poll_are_posted_and_removed_together(stage: Stage) -> None:
    async def all_of(payloads: Mapping[str, bytes]) -> set[str]:
        return set(payloads)

    jobs = JobsTogether(all_of)
    job_ids = await enqueued(stage, 3)
    async with Running(stage, jobs):
        await stage.drained()
    assert jobs.calls == [job_ids]
    assert jobs.alone == []
    assert await keys_of(stage, job_ids) == []


async def test_jobs_that_come_in_meanwhile_share_the_next_posting(stage: Stage) -> None:
    began, may_end = asyncio.Event(), asyncio.Event()

    async def all_of(payloads: Mapping[str, bytes]) -> set[str]:
        began.set()
        await may_end.wait()
        return set(payloads)

    jobs = JobsTogether(all_of)
    first = await enqueued(stage, 1)
    async with Running(stage, jobs) as workers:
        await began.wait()
        others = await enqueued(stage, 3)
        await workers.workers[0].pick()
        claimed = await stage.redis.keys(f"{in_progress_key_prefix}*")
        assert claimed == [(in_progress_key_prefix + first[0]).encode()]
        may_end.set()
        await stage.drained()
    assert jobs.calls == [first, others]


async def test_jobs_that_are_left_over_are_tried_alone(stage: Stage) -> None:
    job_ids = await enqueued(stage, 3)

    async def all_but_the_first(payloads: Mapping[str, bytes]) -> set[str]:
        return set(payloads) - {job_ids[0]}

    jobs = JobsTogether(all_but_the_first)
    async with Running(stage, jobs):
        await stage.drained()
    assert jobs.alone == [(job_ids[0], 1)]
    assert await keys_of(stage, job_ids) == []


async def test_jobs_that_are_put_back_are_tried_alone_the_next_time(stage: Stage) -> None:
    async def put_back(_: Mapping[str, bytes]) -> set[str]:
        raise Retry(defer=0.01)

    jobs = JobsTogether(put_back)
    job_ids = await enqueued(stage, 3)
    async with Running(stage, jobs):
        await stage.drained()
    assert jobs.calls == [job_ids]
    assert sorted(jobs.alone) == [(job_id, 2) for job_id in job_ids]
    assert await keys_of(stage, job_ids) == []


async def test_a_job_without_data_does_not_hold_up_the_others(stage: Stage) -> None:
    async def all_of(payloads: Mapping[str, bytes]) -> set[str]:
        return set(payloads)

    jobs = JobsTogether(all_of)
    job_ids = await enqueued(stage, 3)
    await stage.redis.delete(job_key_prefix + job_ids[0])
    async with Running(stage, jobs) as running:
        await stage.drained()
    assert jobs.calls == [job_ids[1:]]
    assert running.missing == 1


async def test_jobs_of_a_worker_that_stops_are_on_the_queue_again(stage: Stage) -> None:
    """The handler is cancelled once the grace is over, and gives its jobs back."""
    began = asyncio.Event()

    async def without_end(_: Mapping[str, bytes]) -> set[str]:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise Retry(defer=0) from None
        raise AssertionError

    jobs = JobsTogether(without_end)
    job_ids = await enqueued(stage, 2)
    async with Running(stage, jobs, grace_s=0.01):
        await began.wait()
    waiting = await stage.redis.zrange(QUEUE, 0, -1)
    assert sorted(id_.decode() for id_ in waiting) == job_ids
    left = await keys_of(stage, job_ids)
    assert not [key for key in left if key.startswith(in_progress_key_prefix)]


async def test_a_damaged_event_spoils_no_job_but_its_own(stage: Stage) -> None:
    damaged, sound = make_event(), [make_event() for _ in range(3)]
    spoilt = batch_of_raws([altered(damaged, usage="many"), msgspec.msgpack.encode(sound[0])])
    settings = settings_for("mongodb://127.0.0.1", "redis://127.0.0.1")
    async with open_jobs(stage.resources(settings)) as jobs:
        done = await jobs.post_together(
            {
                "whole": msgspec.msgpack.encode(sound[1:]),
                "spoilt": spoilt,
                "no batch": b"\xc1",
                "unknown account": msgspec.msgpack.encode([make_event("nobody")]),
            }
        )
    assert done == {"whole"}
    assert sorted(await stage.entry_ids()) == sorted(event.call_id for event in sound[1:])


async def test_a_job_that_comes_again_posts_nothing_twice(stage: Stage) -> None:
    """Its worker died between the posting and the job's removal."""
    events = [make_event() for _ in range(2)]
    settings = settings_for("mongodb://127.0.0.1", "redis://127.0.0.1")
    payloads = {event.call_id: msgspec.msgpack.encode([event]) for event in events}
    async with open_jobs(stage.resources(settings)) as jobs:
        assert await jobs.post_together(payloads) == set(payloads)
        assert await jobs.post_together(payloads) == set(payloads)
    await stage.assert_exact("alice", 2)
