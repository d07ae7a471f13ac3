"""What handlers work with: opened by the lifespan, read as `request.state["…"]`."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import TypedDict

import msgspec

from libs.common.proving import Prover
from libs.common.repricing import Repricer
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.correction_orders import CorrectionOrderStore
from libs.common.storage.mongo.dead_letters import DeadLetterStore
from libs.common.storage.mongo.driver import Database, open_database
from libs.common.storage.mongo.entries import EntryStore
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.mongo.routes import RouteStore
from libs.common.storage.prices.price_book import PriceBook
from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.queue.order_queue import OrderQueue
from libs.common.storage.queue.recordings import RecordingStore
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.cooldowns import CooldownStore
from libs.common.storage.redis.holds import HoldStore
from libs.common.web.health import Check
from libs.common.web.http_client import HttpClient
from services.admin.announcer import Announcer
from services.admin.settings import Settings


class State(TypedDict):
    """`now` is the current time in UTC, `new_id` a UUIDv7, `entropy(n)` n random bytes.

    `correction_wait_s` is how long a request waits for the worker to post its correction,
    `body_timeout_s` how long its body may take.
    """

    body_timeout_s: float
    accounts: AccountStore
    keys: KeyStore
    prices: PriceStore
    price_book: PriceBook
    ledger: LedgerStore
    entries: EntryStore
    prover: Prover
    repricer: Repricer
    orders: OrderQueue
    correction_orders: CorrectionOrderStore
    correction_wait_s: float
    dead_letters: DeadLetterStore
    recordings: RecordingStore
    holds: HoldStore
    routes: RouteStore
    cooldowns: CooldownStore
    gateway: HttpClient
    announcer: Announcer
    price_map: PriceMap
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
