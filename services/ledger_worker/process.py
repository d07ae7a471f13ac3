"""The worker's process: connects, waits for MongoDB and Redis, works, closes in reverse."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from time import time
from typing import Any

import structlog
import uvloop
from prometheus_client import start_http_server
from redis.exceptions import NoPermissionError, RedisError

from libs.common.collector import collect_rarely
from libs.common.settings import SettingsError
from libs.common.storage.indexes import BUILD_INDEXES, WORKER_INDEXES
from libs.common.storage.mongo.driver import (
    Database,
    MongoUnsuitable,
    PyMongoError,
    open_database,
    ping,
)
from libs.common.storage.mongo.index import ensure_indexes
from libs.common.storage.prices.price_map import PriceMap, open_price_map
from libs.common.storage.queue.event_queue import queue_state, queues_of
from libs.common.storage.redis.client import Redis, memory_ratio, open_redis
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.replicas import ReplicaStore, about, report_replica
from libs.common.storage.redis.shard_workers import ShardWorkers
from libs.common.storage.redis.shards import shards_of
from libs.common.storage.redis.suitability import RedisUnsuitable, check_suitable
from libs.common.tasks import running, until_any_ends
from services.ledger_worker.assembly import WorkerResources, open_jobs, run_chores
from services.ledger_worker.health import health_keys
from services.ledger_worker.jobs import retry_delay_s
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.queue_worker import create_worker, keep_working, pause
from services.ledger_worker.settings import Settings
from services.ledger_worker.shard_share import GONE_AFTER_MS, share_shards
from services.ledger_worker.sweep import keep_sweeping

# How often the queue is measured.
_WATCH_INTERVAL_S = 5.0
# A job that nobody has ended after one and a half of its timeouts is late.
_LATE_JOBS_MS = 1500
# Jobs of a shard at a time, however many shards there are: the more there are, the fewer events has
# each job.
_SHARD_JOBS = 16
# Besides one per job: for polls, the health key and the measurements.
_SPARE_CONNECTIONS = 16

log = structlog.get_logger(__name__)


def run(settings: Settings) -> str | None:
    """Works until SIGTERM or SIGINT. Returns why the worker cannot start, in one line."""
    return run_main(_serve(settings))


def run_main(main: Coroutine[Any, Any, str | None]) -> str | None:
    """Returns in one line why it cannot be done."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main)
    except (MongoUnsuitable, RedisUnsuitable, SettingsError) as error:
        return str(error)


async def _serve(settings: Settings) -> str | None:
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    metrics = Metrics()
    price_map = _open_price_map(settings.price_map_path)
    async with (
        open_stores(settings) as (database, redis),
        _serve_metrics(metrics, settings),
        metrics.databases.running(database, redis),
    ):
        if await wait_until_ready(database, redis, stop):
            resources = WorkerResources(
                settings=settings,
                database=database,
                redis=redis,
                price_map=price_map,
                metrics=metrics,
            )
            collect_rarely()
            note = about("ledger_worker", settings.name, time())
            reporting = report_replica(ReplicaStore(redis), lambda: note)
            sweeping = keep_sweeping(
                redis, HoldStore(redis), metrics, stop, every_s=settings.worker_sweep_s
            )
            async with running(reporting):
                await until_any_ends(
                    stop,
                    _watch_queue(redis, metrics, stop),
                    sweeping,
                    run_chores(resources, stop),
                    work(resources, stop),
                )
    log.info("worker.stopped")
    return None


async def work(resources: WorkerResources, stop: asyncio.Event) -> None:
    """Until `stop`. All shards share the jobs' handlers, and so their transactions in MongoDB."""
    settings, redis = resources.settings, resources.redis
    shards = shards_of(redis)
    queues, keys = queues_of(shards), health_keys(shards, settings.name)
    pipelined = Pipelined(redis)
    async with open_jobs(resources) as jobs:

        async def work_on(shard: int, stop: asyncio.Event) -> None:
            new_worker = partial(
                create_worker,
                jobs,
                redis,
                queues[shard],
                health_key=keys[shard],
                max_jobs=_max_jobs(settings.worker_max_jobs, shards.count),
                job_timeout_s=settings.worker_job_timeout_s,
                on_missing=resources.metrics.missing_jobs.inc,
                pipelined=pipelined,
            )
            await keep_working(new_worker, stop, grace_s=settings.worker_grace_s)

        log.info("worker.started", name=settings.name, max_jobs=settings.worker_max_jobs)
        if shards.count == 1:
            await work_on(0, stop)
        else:
            names = [queue.name for queue in queues]
            others = ShardWorkers(pipelined, shards, names, gone_after_ms=GONE_AFTER_MS)
            late_ms = settings.worker_job_timeout_s * _LATE_JOBS_MS
            await share_shards(others, work_on, stop, worker=settings.name, late_ms=late_ms)
    # Those of servers that are away expire.
    await asyncio.gather(*map(redis.delete, keys), return_exceptions=True)


def _max_jobs(most: int, shards: int) -> int:
    """Of one shard at a time: together about `most`, but enough of each for a full transaction."""
    return max(-(-most // shards), min(most, _SHARD_JOBS))


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[tuple[Database, Redis]]:
    """Connects lazily."""
    connections = settings.worker_max_jobs + _SPARE_CONNECTIONS
    async with (
        open_database(settings.mongo_uri.reveal()) as database,
        open_redis(settings.redis_url.reveal(), max_connections=connections) as redis,
    ):
        yield database, redis


async def wait_until_ready(database: Database, redis: Redis, stop: asyncio.Event) -> bool:
    """Retries without end. Returns False if `stop` is set first.

    Raises MongoUnsuitable and RedisUnsuitable, which no retry can pass.
    """

    async def mongo() -> None:
        await ping(database)
        await ensure_indexes(database, WORKER_INDEXES, how=BUILD_INDEXES)

    for name, check in (("MongoDB", mongo), ("Redis", partial(check_suitable, redis))):
        if not await _wait_for(name, check, stop):
            return False
    return True


async def _wait_for(name: str, check: Callable[[], Awaitable[None]], stop: asyncio.Event) -> bool:
    for tries in count(1):
        if stop.is_set():
            return False
        try:
            await check()
        except RedisUnsuitable:
            raise
        except (PyMongoError, RedisError, OSError) as error:
            delay_s = retry_delay_s(tries)
            log.warning(
                "database.unavailable",
                database=name,
                error=error,
                next_try_s=round(delay_s, 1),
            )
            await pause(stop, delay_s)
        else:
            return True
    raise AssertionError("count() does not end")


async def _watch_queue(redis: Redis, metrics: Metrics, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            state = await queue_state(redis)
            # A user that lacks the right is logged at the start.
            with suppress(NoPermissionError):
                metrics.redis_memory_ratio.set(await memory_ratio(redis))
        except (RedisError, OSError):
            # `keep_working` logs that Redis is unavailable.
            pass
        else:
            metrics.queue.show(state, time())
        await pause(stop, _WATCH_INTERVAL_S)


@asynccontextmanager
async def _serve_metrics(metrics: Metrics, settings: Settings) -> AsyncIterator[None]:
    """Serves metrics on their own port. If the port cannot be opened, the worker still posts."""
    if settings.worker_metrics_port == 0:
        yield
        return
    address = (settings.worker_metrics_host, settings.worker_metrics_port)
    try:
        server, thread = start_http_server(address[1], address[0], registry=metrics.registry)
    except OSError as error:
        log.warning("metrics.unavailable", setting="WORKER_METRICS_PORT", error=error)
        yield
        return
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _open_price_map(path: str | None) -> PriceMap:
    price_map = open_price_map(path)
    if not len(price_map):
        # Only prices set by the admin service count then.
        log.warning("price_map.missing")
    return price_map
