"""Measures how long MongoDB and Redis take to answer, without a cost to any call."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from time import perf_counter
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Gauge, Histogram
from redis.exceptions import RedisError

from libs.common.storage.mongo.driver import Database, MongoUnsuitable, PyMongoError
from libs.common.storage.readiness import storage_checks
from libs.common.storage.redis.client import Redis
from libs.common.tasks import outlast

EVERY_S = 5.0
_TIMEOUT_S = 3.0
_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
_AWAY = (PyMongoError, MongoUnsuitable, RedisError, OSError)

log = structlog.get_logger(__name__)


class Probes:
    """A small read of each database at a time, as the service's user; `database` names it."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            f"{prefix}_database_probe_seconds",
            "Time of a small read, which each process makes every 5 s.",
            ["database"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._up = Gauge(
            f"{prefix}_database_up",
            "Whether the last small read was answered.",
            ["database"],
            registry=registry,
        )

    async def probe(self, database: Database, redis: Redis) -> None:
        checks = storage_checks(database, redis)
        await asyncio.gather(*(self._measure(name, check) for name, check in checks.items()))

    @asynccontextmanager
    async def running(self, database: Database, redis: Redis) -> AsyncIterator[None]:
        """Probes every `EVERY_S` until the block ends; a probe under way is waited for.

        A connection that was given up while it opened would outlive the pool.
        """
        stop = asyncio.Event()
        task = asyncio.create_task(self._keep_probing(database, redis, stop))
        try:
            yield
        finally:
            stop.set()
            await outlast(task)

    async def _keep_probing(self, database: Database, redis: Redis, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.probe(database, redis)
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await stop.wait()

    async def _measure(self, name: str, check: Callable[[], Awaitable[Any]]) -> None:
        began = perf_counter()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await check()
        except _AWAY as error:
            self._up.labels(name).set(0)
            log.debug("database.unavailable", database=name, error=error)
            return
        self._seconds.labels(name).observe(perf_counter() - began)
        self._up.labels(name).set(1)
