"""However a job ends, it ends in success or in `Retry`: arq drops it after anything else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from arq import Retry

from libs.common.group_commit import GroupCommit
from libs.common.outbox import outbox_of
from libs.common.schemas.correction import CorrectionOrder, RepriceOrder
from libs.common.schemas.usage import UsageEvent
from libs.common.storage.mongo.ledger import EntriesRefused
from libs.common.storage.queue.event_queue import encode_batch
from libs.common.storage.queue.recordings import RecordingStore
from services.ledger_worker.assembly import open_corrector
from services.ledger_worker.jobs import Jobs, retry_delay_s
from services.ledger_worker.poster import Failures
from services.ledger_worker.recordings import RecordingKeeper
from services.ledger_worker.settings import Settings
from tests.service.ledger_worker.worker_stage import (
    MODEL,
    NOW,
    Stage,
    make_event,
    new_call_id,
    working,
)

Write = Callable[[Sequence[Sequence[UsageEvent]]], Awaitable[Sequence[Failures]]]


@asynccontextmanager
async def jobs_over(stage: Stage, write: Write, *, deadline_s: float = 10) -> AsyncIterator[Jobs]:
    commit = GroupCommit(write, max_items=10, max_waiting=10)
    async with open_corrector(stage.resources()) as corrector:
        yield Jobs(
            commit=commit,
            dead_letters=stage.dead_letters,
            holds=stage.holds,
            corrector=corrector,
            recordings=RecordingKeeper(
                RecordingStore(stage.database), stage.metrics, lambda: datetime.now(UTC)
            ),
            outbox=outbox_of(stage.database),
            metrics=stage.metrics,
            deadline_s=deadline_s,
            now=lambda: datetime.now(UTC),
        )
        await commit.close()


def context(tries: int = 1) -> dict[Any, Any]:
    return {"job_id": "job-1", "job_try": tries}


@pytest.mark.parametrize("error", [OSError("away"), KeyError("a bug"), RecursionError()])
async def test_any_failure_is_retried(stage: Stage, error: Exception) -> None:
    async def fail(_batches: Sequence[Sequence[UsageEvent]]) -> Sequence[Failures]:
        raise error

    async with jobs_over(stage, fail) as jobs:
        for tries in (1, 1000):
            with pytest.raises(Retry):
                await jobs.post(context(tries), encode_batch([make_event()]))
    assert await stage.dead_letters.count() == 0


async def test_a_cancelled_job_is_retried(stage: Stage) -> None:
    """arq cancels a job at its timeout too, and would then drop it."""
    writing, may_end = asyncio.Event(), asyncio.Event()

    async def wait(batches: Sequence[Sequence[UsageEvent]]) -> Sequence[Failures]:
        writing.set()
        await may_end.wait()
        return [{} for _ in batches]

    async with jobs_over(stage, wait) as jobs:
        job = asyncio.create_task(jobs.post(context(), encode_batch([make_event()])))
        await writing.wait()
        job.cancel()
        with pytest.raises(Retry):
            await job
        may_end.set()


async def test_a_job_that_times_out_is_retried(stage: Stage) -> None:
    may_end = asyncio.Event()

    async def wait(batches: Sequence[Sequence[UsageEvent]]) -> Sequence[Failures]:
        await may_end.wait()
        return [{} for _ in batches]

    async with jobs_over(stage, wait, deadline_s=0.05) as jobs:
        with pytest.raises(Retry):
            await jobs.post(context(), encode_batch([make_event()]))
        may_end.set()


async def test_an_event_mongodb_keeps_refusing_is_eventually_dead_lettered(stage: Stage) -> None:
    event = make_event()

    async def refuse(batches: Sequence[Sequence[UsageEvent]]) -> Sequence[Failures]:
        refused = EntriesRefused("not today", at_fault=False)
        return [{event.call_id: refused} for _ in batches]

    async with jobs_over(stage, refuse) as jobs:
        with pytest.raises(Retry):
            await jobs.post(context(tries=24), encode_batch([event]))
        assert await stage.dead_letters.count() == 0
        await jobs.post(context(tries=25), encode_batch([event]))
    [letter] = await stage.dead_letters.list(after=None, limit=10)
    assert (letter.call_id, letter.reason) == (event.call_id, "not today")


@pytest.mark.parametrize(
    ("tries", "most_s"), [(1, 0.5), (2, 1), (4, 4), (7, 30), (50, 30), (10**9, 30)]
)
def test_delays_grow_to_half_a_minute(tries: int, most_s: float) -> None:
    for _ in range(100):
        assert most_s / 2 <= retry_delay_s(tries) <= most_s


def order(**fields: Any) -> CorrectionOrder:
    defaults: dict[str, Any] = {
        "entry_id": new_call_id(),
        "user_id": "alice",
        "kind": "credit",
        "cost_nusd": -5,
        "corrects": None,
        "reason": "a good customer",
        "made_by": "jo",
        "at": NOW,
    }
    return CorrectionOrder(**(defaults | fields))


async def post_nothing(batches: Sequence[Sequence[UsageEvent]]) -> Sequence[Failures]:
    return [{} for _ in batches]


async def test_an_order_is_posted_once(stage: Stage) -> None:
    payload = msgspec.msgpack.encode(order())
    async with jobs_over(stage, post_nothing) as jobs:
        for _ in range(3):
            await jobs.correct(context(), payload)
    await stage.assert_exact("alice", 1, nusd=-5)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xc1", "DecodeError"),
        (msgspec.msgpack.encode(order(v=2)), "version 2"),
        (msgspec.msgpack.encode(order(user_id="nobody")), "no account 'nobody'"),
        (msgspec.msgpack.encode(order(corrects="unknown")), "no entry 'unknown'"),
        (msgspec.msgpack.encode(order(cost_nusd=0)), "out of range"),
    ],
)
async def test_an_unpostable_order_is_dead_lettered(
    stage: Stage, payload: bytes, reason: str
) -> None:
    async with jobs_over(stage, post_nothing) as jobs:
        await jobs.correct(context(), payload)
    [letter] = await stage.dead_letters.list(after=None, limit=10)
    assert (letter.kind, letter.raw) == ("correction", payload)
    assert reason in letter.reason


async def test_an_order_whose_settling_fails_is_retried(stage: Stage) -> None:
    payload = msgspec.msgpack.encode(order())
    await stage.redis.zadd("gateway:{alice}:spent:total", {"not a number": 1})
    async with jobs_over(stage, post_nothing) as jobs:
        with pytest.raises(Retry):
            await jobs.correct(context(), payload)
        await stage.redis.delete("gateway:{alice}:spent:total")
        await jobs.correct(context(tries=2), payload)
    assert await stage.spent_in_redis("alice") == -5
    await stage.assert_exact("alice", 1, nusd=-5)


async def test_a_call_that_cannot_be_repriced_does_not_block_others(
    stage: Stage, settings: Settings
) -> None:
    """The account of one of them is gone."""
    events = [make_event("alice"), make_event("bob"), make_event("alice")]
    async with working(stage, settings):
        await stage.enqueue(events)
        await stage.drained()
    await stage.database["accounts"].delete_one({"_id": "bob"})
    await stage.set_price(MODEL, "6", "15")
    ids = tuple(event.call_id for event in events)
    repricing = RepriceOrder(entry_ids=ids, reason="new price", made_by="jo")
    async with jobs_over(stage, post_nothing) as jobs:
        await jobs.reprice(context(), msgspec.msgpack.encode(repricing))
    await stage.assert_exact("alice", 4, nusd=15_000_000)


async def test_a_repriced_call_keeps_its_accounts_multiplier(
    stage: Stage, settings: Settings
) -> None:
    event = make_event(account_multiplier=Decimal("0.5"))
    async with working(stage, settings):
        await stage.enqueue([event])
        await stage.drained()
    await stage.set_price(MODEL, "6", "15")
    repricing = RepriceOrder(entry_ids=(event.call_id,), reason="new price", made_by="jo")
    async with jobs_over(stage, post_nothing) as jobs:
        await jobs.reprice(context(), msgspec.msgpack.encode(repricing))
    await stage.assert_exact("alice", 2, nusd=7_500_000 // 2)
