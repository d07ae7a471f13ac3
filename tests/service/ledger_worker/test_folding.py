"""When the worker folds what postings leave."""

import asyncio
from datetime import date
from typing import cast

from libs.common.storage.mongo.driver import PyMongoError
from libs.common.storage.mongo.rollup_segments import RollupSegments
from services.ledger_worker.folding import POSTINGS, Folding
from tests.unit.builders import entry

LATER_S = 3_600.0


class Segments:
    """Counts what is asked of it; the first time MongoDB is away."""

    def __init__(self) -> None:
        self.folds, self.rolls = 0, 0
        self.asked = asyncio.Event()

    async def fold(self, today: date) -> None:
        assert isinstance(today, date)
        self.folds += 1
        self.asked.set()
        if self.folds == 1:
            raise PyMongoError("away")

    async def roll_up(self) -> None:
        self.rolls += 1


async def test_many_postings_are_folded_at_once_and_few_later() -> None:
    segments, stop = Segments(), asyncio.Event()
    folding = Folding(after_s=LATER_S)
    running = asyncio.create_task(folding.run(cast("RollupSegments", segments), stop))
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
    assert (segments.folds, segments.rolls) == (4, 3)


async def test_few_postings_are_folded_by_the_clock() -> None:
    segments, stop = Segments(), asyncio.Event()
    folding = Folding(after_s=0.001)
    running = asyncio.create_task(folding.run(cast("RollupSegments", segments), stop))
    async with asyncio.timeout(30):
        while segments.rolls < 3:
            segments.asked.clear()
            await segments.asked.wait()
        stop.set()
        await running
