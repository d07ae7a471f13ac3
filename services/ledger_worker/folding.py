"""Folds what postings leave, and adds it to the rollups."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.rollup_segments import RollupSegments
from services.ledger_worker.periodic_chores import run_chore

# Whoever reads sums reads what postings left meanwhile: of so many, or after so long.
POSTINGS, _AFTER_S = 64, 5.0


class Folding:
    """A chore that begins sooner after many postings."""

    def __init__(self, *, after_s: float = _AFTER_S) -> None:
        self._after_s = after_s
        self._postings = 0
        self._many = asyncio.Event()

    def notice(self, entries: Sequence[LedgerEntry]) -> None:
        """A posting of these."""
        self._postings += bool(entries)
        if self._postings >= POSTINGS:
            self._many.set()

    async def run(self, segments: RollupSegments, stop: asyncio.Event) -> None:
        async def work() -> None:
            await segments.fold(datetime.now(UTC).date())
            await segments.roll_up()

        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._postings = 0
                self._many.clear()
                await run_chore("fold recent", work)
                many = asyncio.create_task(self._many.wait())
                await asyncio.wait(
                    {stopped, many}, timeout=self._after_s, return_when=asyncio.FIRST_COMPLETED
                )
                many.cancel()
        finally:
            stopped.cancel()
