"""When the worker folds what postings leave."""

import asyncio
from datetime import date
from typing import cast

import pytest

from libs.common.storage.mongo.driver import PyMongoError
from libs.common.storage.mongo.rollup_segments import RollupSegments
from services.ledger_worker.folding import MOST_ENTRIES, POSTINGS, Folding, show_oldest
from services.ledger_worker.metrics import Metrics
from tests.unit.builders import NOW, entry

LATER_S = 3_600.0


class Segments:
    """Counts what is asked of it; the first time MongoDB is away."""

    def __init__(self, since_ms: int | None = None) -> None:
        self.folds, self.rolls = 0, 0
        self.since_ms = since_ms
        self.asked = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def fold(self, today: date) -> None:
        assert isinstance(today, date)
        self.folds += 1
        self.asked.set()
        if self.folds == 1:
            raise PyMongoError("away")

    async def unrolled_since_ms(self) -> int | None:
        return self.since_ms

    async def roll_up(self, *, after_ms: int) -> None:
        assert after_ms == 7_000
        self.rolls += 1
        await self.may_end.wait()


async def test_many_postings_are_folded_at_once_and_few_later() -> None:
    segments, stop = Segments(), asyncio.Event()
    folding = Folding(after_s=LATER_S)
    running = asyncio.create_task(folding.run(cast("RollupSegments", segments), stop, roll_up_s=7))
    async with asyncio.timeout(30):
        await segments.asked.wait()
        for n in range(1, 4):
            segments.asked.clear()
            # Postings of nothing new leave nothing.
            folding.notice([])
            for _ in range(POSTINGS - 1):
                folding.notice([entry()])
            # Whatever waits has its turn.
            for _ in range(20):
                await asyncio.sleep(0)
            assert segments.folds == n
            folding.notice([entry()])
            await segments.asked.wait()
        stop.set()
        await running
    # Also where it could not be folded.
    assert (segments.folds, segments.rolls) == (4, 4)


async def test_few_postings_are_folded_by_the_clock() -> None:
    segments, stop = Segments(), asyncio.Event()
    folding = Folding(after_s=0.001)
    running = asyncio.create_task(folding.run(cast("RollupSegments", segments), stop, roll_up_s=7))
    async with asyncio.timeout(30):
        while segments.rolls < 3:
            segments.asked.clear()
            await segments.asked.wait()
        stop.set()
        await running


async def test_a_posting_waits_while_too_much_is_left_and_not_for_ever() -> None:
    segments, stop = Segments(), asyncio.Event()
    segments.folds = 1
    segments.may_end.clear()
    folding = Folding(after_s=LATER_S)
    running = asyncio.create_task(folding.run(cast("RollupSegments", segments), stop, roll_up_s=7))
    async with asyncio.timeout(30):
        await segments.asked.wait()
        call = entry()
        folding.notice([call] * (MOST_ENTRIES - 1))
        await folding.wait_for_room(longest_s=LATER_S)
        folding.notice([call])
        await folding.wait_for_room(longest_s=0.001)
        waiting = asyncio.create_task(folding.wait_for_room(longest_s=LATER_S))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        segments.may_end.set()
        await waiting
        stop.set()
        await running


async def test_a_run_that_is_cancelled_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    segments, folding = Segments(), Folding(after_s=LATER_S)
    work = folding.run(cast("RollupSegments", segments), asyncio.Event(), roll_up_s=7)
    running = asyncio.create_task(work)
    async with asyncio.timeout(30):
        # Its own, one for the end and one for postings.
        while len(asyncio.all_tasks() - before) < 3:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait(asyncio.all_tasks() - before)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(("before_s", "age_s"), [(None, 0), (90.5, 90.5), (0, 0), (-60, 0)])
async def test_the_age_of_what_the_rollups_lack_is_shown(
    before_s: float | None, age_s: float
) -> None:
    """Which is of no clock that runs ahead."""
    since_ms = None if before_s is None else int((NOW.timestamp() - before_s) * 1000)
    gauge = Metrics().unrolled_oldest_s
    gauge.set(7)
    await show_oldest(cast("RollupSegments", Segments(since_ms)), gauge, lambda: NOW)
    assert gauge._value.get() == age_s
