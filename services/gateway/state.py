"""What the gateway opens at start and closes, in reverse, at its end."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from socket import gethostname
from time import time
from typing import Any, TypedDict

import msgspec
import structlog

from libs.common.storage.mongo.driver import Database, open_database
from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.provider_objects import ObjectStore
from libs.common.storage.queue.recordings import RecordingQueue
from libs.common.storage.redis.breakers import Breakers
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.cooldowns import CooldownStore
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.invalidation import listen
from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.replicas import (
    ReplicaNote,
    ReplicaStore,
    about,
    report_replica,
)
from libs.common.storage.redis.shards import shards_of
from libs.common.storage.redis.spool_notes import SpoolNoteStore
from libs.common.storage.redis.standings import StandingStore
from libs.common.tasks import running
from services.gateway.admission.admissions import Admissions
from services.gateway.admission.early_refusals import EarlyRefusals
from services.gateway.admission.spend_reader import SpendReader
from services.gateway.admission.standings import Standings
from services.gateway.calls.clock import SharedClock
from services.gateway.directory.caches import Caches
from services.gateway.directory.directory import Directory
from services.gateway.directory.key_usage import KeyUsage
from services.gateway.directory.provider_rows import ROWS
from services.gateway.directory.providers import ModelDirectory
from services.gateway.directory.router import Router
from services.gateway.endpoints.body import BodyLimits
from services.gateway.endpoints.body_memory import BodyMemory
from services.gateway.endpoints.open_calls import OpenCalls
from services.gateway.endpoints.ownership import Ownership
from services.gateway.endpoints.parts import Parts
from services.gateway.metrics import BREAKER_OPEN, DATABASES
from services.gateway.recordings.capture import Recordings
from services.gateway.settings import Settings
from services.gateway.spool.backlog import Backlog
from services.gateway.spool.spool import Spool
from services.gateway.upstream.adapters.tokens import BundledTokenizer
from services.gateway.upstream.adapters.translator import Translator
from services.gateway.upstream.capacity import Capacity
from services.gateway.upstream.cooldowns import Cooldowns
from services.gateway.upstream.credentials import Credentials
from services.gateway.upstream.dispatch import Dispatcher
from services.gateway.upstream.forward import Forwarder
from services.gateway.upstream.http.client import UpstreamClient
from services.gateway.upstream.library_calls import LibraryCalls
from services.gateway.upstream.relay import Relay, open_client
from services.gateway.upstream.translation.profiles import Profiles
from services.gateway.usage.estimator import Estimator
from services.gateway.usage.meter import Meter
from services.gateway.usage.spool_reports import report_spool

log = structlog.get_logger(__name__)
# How long admissions and metering leave a Redis alone that did not answer.
_REDIS_PAUSE_S = 1.0
# A call reads single documents: whoever waits for longer is better told to come back.
_MONGO_TIMEOUT_S = 2.0
# For large bodies; those of asyncio itself look up addresses, which others wait for.
_DECODING_THREADS = 2


class State(TypedDict):
    """What handlers find in `request.state`."""

    parts: Parts
    standings: Standings
    key_usage: KeyUsage
    database: Database
    redis: Redis


class _Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be closed, and the map, which is read from a file."""

    database: Database
    redis: Redis
    client: UpstreamClient
    translator: Translator
    spool: Spool
    price_map: PriceMap


class _Assembly(msgspec.Struct, frozen=True, kw_only=True):
    """The parts, and what else is worked on in the background."""

    parts: Parts
    standings: Standings
    caches: Caches
    cooldowns: Cooldowns
    backlog: Backlog


@asynccontextmanager
async def open_state(settings: Settings) -> AsyncIterator[State]:
    """Connects lazily: the gateway starts, and says so in `/ready`, whatever is away."""
    async with AsyncExitStack() as stack:
        resources = await _open(stack, settings)
        database, redis = resources.database, resources.redis
        assembly = _assemble(resources, settings)
        parts = assembly.parts
        # In reverse: first the calls end, and recordings end after the events, which matter more.
        stack.push_async_callback(parts.recordings.close)
        stack.push_async_callback(parts.meter.close)
        stack.callback(parts.decoding.shutdown)
        stack.push_async_callback(parts.open_calls.wait_for_none)
        await stack.enter_async_context(DATABASES.running(database, redis))
        for work in (
            listen(redis, parts.invalidate, parts.invalidate_all),
            assembly.cooldowns.share(),
            assembly.caches.report_lookups(),
            parts.admissions.renew_leases(),
            parts.meter.drain_spool(),
            report_spool(assembly.backlog, SpoolNoteStore(redis), gethostname()),
            report_replica(ReplicaStore(redis), _replica(settings, assembly.backlog)),
        ):
            await stack.enter_async_context(_watched(work))
        yield State(
            parts=parts,
            standings=assembly.standings,
            key_usage=KeyUsage(database),
            database=database,
            redis=redis,
        )


async def _open(stack: AsyncExitStack, settings: Settings) -> _Resources:
    database = await stack.enter_async_context(
        open_database(settings.mongo_uri.reveal(), operation_timeout_s=_MONGO_TIMEOUT_S)
    )
    redis = await stack.enter_async_context(open_redis(settings.redis_url.reveal()))
    client = await stack.enter_async_context(open_client(settings))
    translator = Translator()
    stack.push_async_callback(translator.close)
    spool = Spool(Path(settings.spool_dir), max_bytes=settings.spool_max_bytes)
    spool.open()
    stack.callback(spool.close)
    return _Resources(
        database=database,
        redis=redis,
        client=client,
        translator=translator,
        spool=spool,
        price_map=PriceMap.open(settings.price_map_path),
    )


def _assemble(resources: _Resources, settings: Settings) -> _Assembly:
    database, redis, price_map = resources.database, resources.redis, resources.price_map
    breakers, clock = Breakers(shards_of(redis), _REDIS_PAUSE_S), SharedClock()
    BREAKER_OPEN.labels("redis").set_function(breakers.any_open)
    pipelined = Pipelined(redis)
    holds = HoldStore(redis, pipelined, wait_replicas=settings.redis_wait_replicas)
    standings = Standings(StandingStore(pipelined, shards_of(redis)), SpendReader(database, holds))
    caches = Caches(pipelined, breakers.shared, settings)
    profiles, tokenizer = Profiles(price_map), BundledTokenizer()
    backlog = Backlog(resources.spool)
    admissions = Admissions(holds, database, backlog, breakers, clock, settings)
    router = Router(database, ModelDirectory(settings, price_map, os.environ), caches, settings)
    cooldowns = Cooldowns(CooldownStore(redis))
    forwarder = Forwarder(
        Relay(resources.client, settings),
        LibraryCalls(resources.translator, settings),
        profiles,
        tokenizer,
        Credentials(os.environ, Path(settings.secrets_dir)),
    )
    parts = Parts(
        directory=Directory(database, price_map, caches, profiles.searches),
        router=router,
        admissions=admissions,
        dispatcher=Dispatcher(forwarder, cooldowns, _capacity(settings)),
        meter=Meter(holds, backlog, breakers, admissions),
        clock=clock,
        open_calls=OpenCalls(),
        recordings=Recordings(
            RecordingQueue(redis), breakers.shared, max_bytes=settings.recording_max_bytes
        ),
        estimator=Estimator(tokenizer),
        ownership=Ownership(ObjectStore(redis, database), router),
        body_limits=BodyLimits(
            max_bytes=settings.max_body_bytes, silence_s=settings.body_timeout_s
        ),
        body_memory=_body_memory(settings),
        decoding=ThreadPoolExecutor(_DECODING_THREADS, "decoding"),
        early_refusals=EarlyRefusals(standings, breakers),
        keepalive_s=settings.keepalive_s,
    )
    return _Assembly(
        parts=parts, standings=standings, caches=caches, cooldowns=cooldowns, backlog=backlog
    )


def _replica(settings: Settings, backlog: Backlog) -> Callable[[], ReplicaNote]:
    note = about("gateway", f"{gethostname()}:{settings.gateway_port}", time())
    keyed = tuple(row.name for row in ROWS if any(map(os.environ.get, row.key_variables)))

    def current_note() -> ReplicaNote:
        waiting_bytes = 0 if backlog.is_empty() else backlog.size()
        return msgspec.structs.replace(note, spool_bytes=waiting_bytes, keyed=keyed)

    return current_note


def _capacity(settings: Settings) -> Capacity:
    max_connections = settings.upstream_max_connections
    return Capacity(
        limit=max_connections,
        account_limit=max(1, max_connections * settings.account_share_percent // 100),
        wait_s=settings.upstream_pool_timeout_s,
    )


def _body_memory(settings: Settings) -> BodyMemory:
    max_bytes = settings.max_bodies_bytes
    return BodyMemory(
        max_bytes=max_bytes, max_account_bytes=max_bytes * settings.account_share_percent // 100
    )


@asynccontextmanager
async def _watched(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    async with running(work) as task:
        task.add_done_callback(_say_if_it_died)
        yield


def _say_if_it_died(task: asyncio.Task[None]) -> None:
    """The gateway goes on without it, and nobody would notice before the process ends."""
    if not task.cancelled() and task.exception() is not None:
        log.critical("background.died", exc_info=task.exception())
