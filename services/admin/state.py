"""What the lifespan opens and handlers read as `request.state["…"]`."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from time import monotonic
from typing import TypedDict

import msgspec

from libs.common.domain.tags import rolled_up_names
from libs.common.outbox import Outbox
from libs.common.prover import Prover, prover_of
from libs.common.repricer import Repricer
from libs.common.slots import Slots
from libs.common.storage.indexes import BUILD_INDEXES, INDEXES
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.alert_receivers import ReceiverStore
from libs.common.storage.mongo.alerts import AlertStore
from libs.common.storage.mongo.audit import AuditStore
from libs.common.storage.mongo.call_times import CallTimesStore
from libs.common.storage.mongo.correction_orders import CorrectionOrderStore
from libs.common.storage.mongo.dead_letters import DeadLetterStore
from libs.common.storage.mongo.driver import Database, open_database, ping
from libs.common.storage.mongo.entries import EntryStore
from libs.common.storage.mongo.idempotent_requests import IdempotentRequestStore
from libs.common.storage.mongo.index import ensure_indexes
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.people import PersonStore
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.mongo.proofs import ProofStore
from libs.common.storage.mongo.rollups import RollupReader
from libs.common.storage.mongo.routes import RouteStore
from libs.common.storage.prices.price_book import PriceBook
from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.queue.correction_queue import CorrectionQueue
from libs.common.storage.queue.recordings import RecordingStore
from libs.common.storage.readiness import storage_checks
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.cooldowns import CooldownStore
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.spool_notes import SpoolNoteStore
from libs.common.web.destinations import Destinations, allowed_hosts
from libs.common.web.health import Check
from libs.common.web.http_client import HttpClient
from services.admin.announcer import Announcer
from services.admin.audit.trail import AuditTrail
from services.admin.clock import new_uuid7
from services.admin.exports.stream import MAX_EXPORTS
from services.admin.metrics import Metrics
from services.admin.people.sign_in import SignIn
from services.admin.people.sign_on import SignOn, sign_on
from services.admin.settings import Settings

# The longest test of a route: its provider may be slow.
_GATEWAY_TIMEOUT_S = 60.0
# Of so many, all accounts' columns are added up as fast as the rollups of a busy one.
_FEW_ENTRIES = 250_000


class Stores(TypedDict):
    """Of the database: a store per collection."""

    accounts: AccountStore
    keys: KeyStore
    prices: PriceStore
    ledger: LedgerStore
    entries: EntryStore
    call_times: CallTimesStore
    rollups: RollupReader
    proofs: ProofStore
    people: PersonStore
    audit_log: AuditStore
    correction_orders: CorrectionOrderStore
    dead_letters: DeadLetterStore
    recordings: RecordingStore
    alerts: AlertStore
    receivers: ReceiverStore
    idempotent_requests: IdempotentRequestStore
    routes: RouteStore


class State(Stores):
    """`now` is the current time in UTC, `new_id` a UUIDv7, `entropy(n)` n random bytes.

    `correction_wait_s` is how long a request waits for the worker to post its correction,
    `body_timeout_s` how long its body may take.
    """

    body_timeout_s: float
    database: Database
    sign_in: SignIn
    sign_on: SignOn
    audit: AuditTrail
    price_book: PriceBook
    rollup_tags: tuple[str, ...]
    prover: Prover
    repricer: Repricer
    correction_queue: CorrectionQueue
    correction_wait_s: float
    outbox: Outbox
    destinations: Destinations
    holds: HoldStore
    cooldowns: CooldownStore
    spool_notes: SpoolNoteStore
    gateway: HttpClient
    settings: Settings
    announcer: Announcer
    metrics: Metrics
    price_map: PriceMap
    export_slots: Slots
    redis: Redis
    checks: Mapping[str, Check]
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    entropy: Callable[[int], bytes]


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """The connections that the service holds."""

    database: Database
    redis: Redis


OpenResources = Callable[[Settings], AbstractAsyncContextManager[Resources]]


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """The real servers; both connect lazily."""
    async with (
        open_database(settings.mongo_uri.reveal()) as database,
        open_redis(settings.redis_url.reveal()) as redis,
    ):
        yield Resources(database=database, redis=redis)


@asynccontextmanager
async def open_state(
    settings: Settings,
    resources: Resources,
    *,
    metrics: Metrics,
    now: Callable[[], datetime],
    correction_wait_s: float,
) -> AsyncIterator[State]:
    """Raises PyMongoError, MongoUnsuitable and SettingsError."""
    database, redis = resources.database, resources.redis
    await ping(database)
    stores = _stores(database)
    signing_on = sign_on(settings, now, monotonic)
    price_map = PriceMap.open(settings.price_map_path)
    price_book = PriceBook(stores["prices"], price_map)
    await ensure_indexes(database, INDEXES, how=BUILD_INDEXES)
    yield State(
        **stores,
        database=database,
        sign_in=SignIn(
            root_keys=settings.root_keys, people=stores["people"], now=now, sign_on=signing_on
        ),
        sign_on=signing_on,
        audit=AuditTrail(stores["audit_log"]),
        price_book=price_book,
        price_map=price_map,
        rollup_tags=rolled_up_names(settings.rollup_tags),
        prover=prover_of(database, redis),
        repricer=Repricer(stores["entries"], price_book),
        correction_queue=CorrectionQueue(redis),
        correction_wait_s=correction_wait_s,
        body_timeout_s=settings.body_timeout_s,
        outbox=Outbox(stores["alerts"], stores["receivers"]),
        destinations=Destinations(allowed_hosts(settings.alert_allowed_hosts)),
        holds=HoldStore(redis),
        cooldowns=CooldownStore(redis),
        spool_notes=SpoolNoteStore(redis),
        gateway=HttpClient(
            settings.gateway_url,
            name="The gateway",
            setting="GATEWAY_URL",
            timeout_s=_GATEWAY_TIMEOUT_S,
        ),
        settings=settings,
        announcer=Announcer(redis, metrics),
        metrics=metrics,
        export_slots=Slots(MAX_EXPORTS),
        redis=redis,
        checks=storage_checks(database, redis),
        now=now,
        new_id=new_uuid7,
        entropy=os.urandom,
    )


def _stores(database: Database) -> Stores:
    return Stores(
        accounts=AccountStore(database),
        keys=KeyStore(database),
        prices=PriceStore(database),
        ledger=LedgerStore(database),
        entries=EntryStore(database),
        call_times=CallTimesStore(database),
        rollups=RollupReader(database, few_entries=_FEW_ENTRIES),
        proofs=ProofStore(database),
        people=PersonStore(database),
        audit_log=AuditStore(database),
        correction_orders=CorrectionOrderStore(database),
        dead_letters=DeadLetterStore(database),
        recordings=RecordingStore(database),
        alerts=AlertStore(database),
        receivers=ReceiverStore(database),
        idempotent_requests=IdempotentRequestStore(database),
        routes=RouteStore(database),
    )
