"""Builds the worker's parts from what the process has opened."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import structlog

from libs.common.domain.tags import rolled_up_names
from libs.common.group_commit import GroupCommit
from libs.common.outbox import outbox_of
from libs.common.prover import prover_of
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.alert_receivers import ReceiverStore
from libs.common.storage.mongo.alerts import AlertStore
from libs.common.storage.mongo.dead_letters import DeadLetterStore
from libs.common.storage.mongo.driver import Database, is_router
from libs.common.storage.mongo.entries import EntryStore
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.mongo.proofs import ProofStore
from libs.common.storage.mongo.rollup_segments import RollupSegments
from libs.common.storage.mongo.sharding import SHARD_KEYS, read_zones
from libs.common.storage.prices.price_book import PriceBook
from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.queue.earlier_queue import move_earlier_jobs
from libs.common.storage.queue.recordings import RecordingStore
from libs.common.storage.queue.replay import clear_posted
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.cooldowns import CooldownStore
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.shards import shards_of
from libs.common.storage.redis.spool_notes import SpoolNoteStore
from libs.common.tasks import until_any_ends
from libs.common.web.destinations import Destinations, allowed_hosts
from services.ledger_worker.alerts.forecasts import ForecastWatch
from services.ledger_worker.alerts.postings import PostingWatch
from services.ledger_worker.alerts.sender import AlertSender
from services.ledger_worker.alerts.watches import CooldownWatch, ExpiryWatch, SpoolWatch
from services.ledger_worker.call_log import log_calls
from services.ledger_worker.corrector import Corrector
from services.ledger_worker.folding import Folding, show_oldest
from services.ledger_worker.jobs import Jobs
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.periodic_chores import repeat_chore, take_turn
from services.ledger_worker.poster import Observer, Poster
from services.ledger_worker.recordings import RecordingKeeper
from services.ledger_worker.sessions import leased_session
from services.ledger_worker.settings import Settings
from services.ledger_worker.settler import Settler
from services.ledger_worker.trace_export import TraceExport, open_trace_export
from services.ledger_worker.unpriced_entries import UnpricedSweep
from services.ledger_worker.verifier import Verifier

# The share of a job's timeout that its work may take; the rest is for postponing the job.
_DEADLINE_SHARE = 0.75
_CLEARED_EVERY_S = 60.0
_EARLIER_JOBS_EVERY_S = 5.0
# Shorter than most cooldowns, which are forgotten when they end.
_COOLDOWNS_EVERY_S = 2.0
_SPOOLS_EVERY_S = 5.0
_FOLDED_EVERY_S = 60.0
_SEGMENTS_EVERY_S = 600.0
_UNROLLED_EVERY_S = 15.0
_EXPIRIES_EVERY_S = 600.0
_FORECASTS_EVERY_S = 900.0
# For the names of receivers' hosts.
_RESOLVERS = 8

Chore = tuple[str, Callable[[], Awaitable[Any]], float]

log = structlog.get_logger(__name__)


class WorkerResources(msgspec.Struct, frozen=True, kw_only=True):
    """What the process has opened; every part of the worker is built from it."""

    settings: Settings
    database: Database
    redis: Redis
    price_map: PriceMap
    metrics: Metrics
    folding: Folding = msgspec.field(default_factory=Folding)


@asynccontextmanager
async def open_jobs(resources: WorkerResources) -> AsyncIterator[Jobs]:
    """On exit, waits until the group commit has written every item it accepted."""
    settings, metrics = resources.settings, resources.metrics
    database, redis = resources.database, resources.redis
    async with (
        open_trace_export(settings, metrics) as traces,
        leased_session(database, redis) as session,
        open_corrector(resources) as corrector,
    ):
        poster = Poster(
            ledger=await _ledger(resources),
            session=session,
            prices=PriceBook(PriceStore(database), resources.price_map),
            settler=_settler(resources),
            metrics=metrics,
            observers=[resources.folding.notice, *_observers(settings, traces)],
            now=now,
            zones=await read_zones(database),
            wait_for_room=resources.folding.wait_for_room,
        )
        # One item per job. Items of a try that timed out may still wait beside those of the retry.
        commit = GroupCommit(
            poster.write,
            max_items=settings.worker_max_jobs,
            max_waiting=4 * settings.worker_max_jobs,
        )
        yield Jobs(
            commit=commit,
            dead_letters=DeadLetterStore(database),
            holds=HoldStore(redis),
            corrector=corrector,
            recordings=RecordingKeeper(RecordingStore(database), metrics, now),
            outbox=outbox_of(database),
            metrics=metrics,
            deadline_s=settings.worker_job_timeout_s * _DEADLINE_SHARE,
            now=now,
        )
        try:
            async with asyncio.timeout(settings.worker_job_timeout_s):
                await commit.close()
        except TimeoutError:
            # Its jobs are done again.
            log.warning("commit.unfinished")


@asynccontextmanager
async def open_corrector(resources: WorkerResources) -> AsyncIterator[Corrector]:
    database, redis = resources.database, resources.redis
    async with leased_session(database, redis) as session:
        yield Corrector(
            ledger=await _ledger(resources),
            entries=EntryStore(database),
            accounts=AccountStore(database),
            prices=PriceBook(PriceStore(database), resources.price_map),
            settler=_settler(resources),
            session=session,
            metrics=resources.metrics,
            now=now,
        )


async def run_chores(resources: WorkerResources, stop: asyncio.Event) -> None:
    settings, metrics = resources.settings, resources.metrics
    database, redis = resources.database, resources.redis
    verifier = Verifier(
        prover=prover_of(database, redis),
        proofs=ProofStore(database),
        redis=redis,
        outbox=outbox_of(database),
        metrics=metrics,
        every_s=settings.worker_verify_s,
        full_every=timedelta(days=settings.worker_verify_full_days),
        now=now,
    )
    letters, entries = DeadLetterStore(database), EntryStore(database)
    segments = await segments_of(database)
    async with open_corrector(resources) as corrector:
        unpriced = UnpricedSweep(entries, corrector)
        chores: list[Chore] = [
            ("verify", verifier.take_turn, settings.worker_verify_s),
            ("reprice", unpriced.run, settings.worker_reprice_s),
            ("fold", partial(segments.fold, at=2), _FOLDED_EVERY_S),
            # It adds up the entries of all accounts.
            (
                "segments",
                partial(take_turn, redis, "segments", segments.check, every_s=_SEGMENTS_EVERY_S),
                _SEGMENTS_EVERY_S,
            ),
            (
                "unrolled",
                partial(show_oldest, segments, metrics.unrolled_oldest_s, now),
                _UNROLLED_EVERY_S,
            ),
            *_earlier_jobs(redis),
            ("dead letters", partial(clear_posted, letters, entries), _CLEARED_EVERY_S),
            *_watches(resources),
        ]
        resolver = ThreadPoolExecutor(_RESOLVERS, "resolver")
        try:
            await until_any_ends(
                stop,
                _sender(resources, resolver).run(stop),
                resources.folding.run(segments, stop, roll_up_s=settings.worker_roll_up_s),
                *(
                    repeat_chore(chore, work, stop, every_s=every_s)
                    for chore, work, every_s in chores
                    if every_s > 0
                ),
            )
        finally:
            # The process' other tasks do not wait for a name that is still being looked up.
            resolver.shutdown(wait=False)


def now() -> datetime:
    return datetime.now(UTC)


async def segments_of(database: Database) -> RollupSegments:
    by = SHARD_KEYS["rollups"] if await is_router(database) else ()
    return RollupSegments(database, rollups_by=by)


async def _ledger(resources: WorkerResources) -> LedgerStore:
    """The ledger store, with the watch that writes alerts in each posting's transaction."""
    database = resources.database
    return LedgerStore(
        database,
        rollup_tags=rolled_up_names(resources.settings.rollup_tags),
        watch=PostingWatch(outbox_of(database), LedgerReader(database), KeyStore(database)),
    )


def _observers(settings: Settings, traces: TraceExport | None) -> list[Observer]:
    observers: list[Observer] = [] if traces is None else [traces.offer]
    if settings.log_calls:
        observers.append(log_calls)
    return observers


def _settler(resources: WorkerResources) -> Settler:
    return Settler(
        ledger=LedgerReader(resources.database),
        holds=HoldStore(resources.redis),
        keys=KeyStore(resources.database),
    )


def _earlier_jobs(redis: Redis) -> list[Chore]:
    """No earlier release has written to a cluster."""
    if shards_of(redis).tags:
        return []
    return [("earlier jobs", partial(move_earlier_jobs, redis), _EARLIER_JOBS_EVERY_S)]


def _watches(resources: WorkerResources) -> list[Chore]:
    database, redis, settings = resources.database, resources.redis, resources.settings
    outbox = outbox_of(database)
    cooldowns = CooldownWatch(CooldownStore(redis), outbox, now)
    spools = SpoolWatch(SpoolNoteStore(redis), outbox, now, after_s=settings.alert_spool_s)
    within = timedelta(days=settings.alert_key_days)
    expiries = ExpiryWatch(KeyStore(database), outbox, now, within=within)
    forecasts = ForecastWatch(
        accounts=AccountStore(database),
        keys=KeyStore(database),
        ledger=LedgerReader(database),
        outbox=outbox,
        redis=redis,
        now=now,
        every_s=_FORECASTS_EVERY_S,
    )
    return [
        ("forecasts", forecasts.look, _FORECASTS_EVERY_S),
        ("cooldowns", cooldowns.look, _COOLDOWNS_EVERY_S),
        ("spools", spools.look, _SPOOLS_EVERY_S),
        ("expiries", expiries.look, _EXPIRIES_EVERY_S),
    ]


def _sender(resources: WorkerResources, resolver: Executor) -> AlertSender:
    allowed = allowed_hosts(resources.settings.alert_allowed_hosts)
    return AlertSender(
        alerts=AlertStore(resources.database),
        receivers=ReceiverStore(resources.database),
        destinations=Destinations(allowed, resolver),
        metrics=resources.metrics,
        now=now,
    )
