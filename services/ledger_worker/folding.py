"""Folds the segments of postings, and adds them to the rollups."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from prometheus_client import Gauge

from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.rollup_segments import RollupSegments
from services.ledger_worker.periodic_chores import run_chore

# Whoever reads sums reads what postings left meanwhile: of so many, or after so long.
POSTINGS, _AFTER_S = 64, 5.0
# Entries that are posted while one run is under way; each further posting waits for the run's end,
# so that what readers add up stays small, but not for long: calls are posted, whatever fails here.
MOST_ENTRIES, _LONGEST_WAIT_S = 50_000, 1.0


class Folding:
    """A chore that begins sooner after many postings."""

    def __init__(self, *, after_s: float = _AFTER_S) -> None:
        self._after_s = after_s
        # Since the last run began.
        self._postings, self._entries = 0, 0
        self._many, self._done = asyncio.Event(), asyncio.Event()

    def notice(self, entries: Sequence[LedgerEntry]) -> None:
        """A posting of these."""
        self._postings += bool(entries)
        self._entries += len(entries)
        if self._postings >= POSTINGS:
            self._many.set()

    async def wait_for_room(self, *, longest_s: float = _LONGEST_WAIT_S) -> None:
        """Before a posting."""
        if self._entries >= MOST_ENTRIES:
            try:
                async with asyncio.timeout(longest_s):
                    await self._done.wait()
            except TimeoutError:
                pass

    async def run(self, segments: RollupSegments, stop: asyncio.Event, *, roll_up_s: float) -> None:
        """Until `stop`. `roll_up_s`: how old sums grow that the rollups lack."""

        async def fold() -> None:
            await segments.fold(datetime.now(UTC).date())

        async def roll_up() -> None:
            await segments.roll_up(after_ms=int(roll_up_s * 1000))

        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._postings, self._entries = 0, 0
                self._many.clear()
                self._done.clear()
                await run_chore("fold recent", fold)
                # Also where a segment cannot be folded.
                await run_chore("roll up", roll_up)
                self._done.set()
                many = asyncio.create_task(self._many.wait())
                try:
                    await asyncio.wait(
                        {stopped, many}, timeout=self._after_s, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    many.cancel()
        finally:
            stopped.cancel()


async def show_oldest(segments: RollupSegments, gauge: Gauge, now: Callable[[], datetime]) -> None:
    """The age in seconds of the oldest sums that the rollups lack."""
    since_ms = await segments.unrolled_since_ms()
    age_s = 0.0 if since_ms is None else now().timestamp() - since_ms / 1000
    gauge.set(max(age_s, 0.0))
