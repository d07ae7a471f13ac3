"""One-off commands of an operator, beside the running workers. Each returns None, or one line that
says why it failed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from libs.common.prover import prover_of
from libs.common.storage.mongo.dead_letters import DeadLetterStore
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.rollup_parts import RefusedRollup
from libs.common.storage.mongo.rollup_segments import RollupSegments
from libs.common.storage.queue.replay import replay_all
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.spend import forget_spend
from services.ledger_worker.assembly import now, segments_of
from services.ledger_worker.process import open_stores, run_main, wait_until_ready
from services.ledger_worker.settings import Settings

log = structlog.get_logger(__name__)


def replay(settings: Settings) -> str | None:
    """Puts every dead letter back on the queue."""

    async def work() -> None:
        async with _ready_stores(settings) as (database, redis):
            letters = await replay_all(DeadLetterStore(database), redis, now())
        log.info("dead_letters.replayed", letters=letters)

    return run_main(work())


def verify(settings: Settings, *, full: bool) -> str | None:
    """Proves the whole ledger once. Returns the first difference."""

    async def work() -> str | None:
        async with _ready_stores(settings) as (database, redis):
            findings = await prover_of(database, redis).prove_all(full=full)
        difference = findings.first_difference
        log.info("ledger.verified", accounts=findings.accounts, entries=findings.entries, full=full)
        if difference is None:
            return None
        return (
            f"the ledger drifts, in {findings.drifting} of {findings.accounts} accounts: the first "
            f"is '{difference.user_id}', where {difference.where} is {difference.found} "
            f"instead of {difference.expected} ({difference.unit})"
        )

    return run_main(work())


def fill_segments(settings: Settings) -> str | None:
    """Makes the segments of all days. Returns why they are not whole."""

    async def work() -> str | None:
        async with _ready_stores(settings) as (database, _):
            whole = await RollupSegments(database).fill()
        if whole:
            return None
        return (
            "entries are missing in the segments: a worker of an earlier release posted meanwhile"
        )

    return run_main(work())


def roll_up(settings: Settings) -> str | None:
    """Adds to the rollups all that they lack, for workers of an earlier release. Returns which
    cannot be added to.
    """

    async def work() -> str | None:
        async with _ready_stores(settings) as (database, _):
            # By no clock: that of a worker may run ahead of this one's.
            segments, refused = await segments_of(database), list[RefusedRollup]()
            # None is refused twice.
            while found := await segments.roll_up(most_bytes=0):
                refused += found
        if not refused:
            return None
        return (
            f"{len(refused)} rollups cannot be added to, and still lack sums: the first is "
            f"'{refused[0].rollup_id}' ({refused[0].cause})"
        )

    return run_main(work())


def forget_copies(settings: Settings) -> str | None:
    """Deletes Redis' copy of spend, which gateways make anew from MongoDB."""

    async def work() -> None:
        async with _ready_stores(settings) as (_, redis):
            figures = await forget_spend(redis)
        log.info("spend.forgotten", figures=figures)

    return run_main(work())


@asynccontextmanager
async def _ready_stores(settings: Settings) -> AsyncIterator[tuple[Database, Redis]]:
    async with open_stores(settings) as (database, redis):
        await wait_until_ready(database, redis, asyncio.Event())
        yield database, redis
