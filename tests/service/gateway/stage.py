"""What a test of the gateway needs: databases with accounts, keys and prices, a gateway that
serves over real sockets, and a look at the events that it handed to the ledger."""

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx2
import msgspec
import uvicorn
from arq.constants import job_key_prefix
from starlette.types import ASGIApp

from libs.common.domain.ids import secret_hash, uuid7
from libs.common.domain.money import usd_to_nusd
from libs.common.domain.posting import accept, entry_of
from libs.common.schemas.account import Account, Budget, BudgetPeriod
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.key import ApiKey
from libs.common.schemas.price import PriceVersion, Rates
from libs.common.schemas.usage import UsageEvent
from libs.common.settings import Secret
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database, open_database
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.queue.event_queue import QUEUE, decode_event, decode_job, split_batch
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.holds import HoldStore
from libs.common.web.bounded_http import BOUNDS, Bounds, Refuse
from libs.common.web.server import server_options
from services.gateway.app import create_app
from services.gateway.endpoints.parts import Parts
from services.gateway.endpoints.refusals import refuse
from services.gateway.settings import Settings
from services.gateway.spool.backlog import Metered
from services.gateway.state import State, open_state
from services.gateway.usage.meter import Meter
from tests.servers import HOST
from tests.users import as_user

# No test waits this long; it bounds one that would hang.
PATIENCE_S = 15.0
PROVIDER_KEY = "sk-provider"
CHAT_MODEL, MESSAGES_MODEL, OTHER_MODEL = "gpt-4o", "claude-haiku-4-5", "mistral/mistral-tiny"

_RATES = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
PRICE_MAP = {
    CHAT_MODEL: {"litellm_provider": "openai", "mode": "chat", **_RATES},
    MESSAGES_MODEL: {"litellm_provider": "anthropic", "mode": "chat", **_RATES},
    OTHER_MODEL: {"litellm_provider": "mistral", "mode": "chat", **_RATES},
}
StateFactory = Callable[[Settings], AbstractAsyncContextManager[State]]


def zone_by_day() -> str:
    """One in which no day ends soon, and so no period ends while a test runs."""
    zones = ("Asia/Kathmandu", "America/Caracas")
    return next(zone for zone in zones if datetime.now(ZoneInfo(zone)).hour < 23)


class Books:
    """The two databases: what an administrator writes, and what the ledger would read."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self.database = database
        self.redis = redis
        self.keys = KeyStore(database)
        self.accounts = AccountStore(database)
        self.holds = HoldStore(redis)
        self._prices = PriceStore(database)

    async def add_account(
        self,
        user_id: str | None = None,
        *,
        limit_usd: str | None = None,
        period: BudgetPeriod = "total",
        **fields: Any,
    ) -> str:
        """Its user_id."""
        user_id = user_id or f"user-{uuid4().hex}"
        budgets: tuple[Budget, ...] = ()
        if limit_usd is not None:
            budgets = (Budget(limit_nusd=usd_to_nusd(Decimal(limit_usd)), period=period),)
        now = datetime.now(UTC)
        account = Account(
            user_id=user_id, name="Acme", budgets=budgets, created_at=now, updated_at=now, **fields
        )
        assert await self.accounts.insert(account)
        return user_id

    async def add_key(self, user_id: str | None = None, **fields: Any) -> str:
        """Its secret; of an account of its own unless one is named."""
        user_id = user_id or await self.add_account()
        secret = f"sk-gw-{uuid4().hex}"
        now = datetime.now(UTC)
        await self.keys.insert(
            ApiKey(
                key_id=f"key-{uuid4().hex}",
                user_id=user_id,
                name="laptop",
                prefix=secret[:12],
                secret_hash=secret_hash(secret),
                created_at=now,
                updated_at=now,
                **fields,
            )
        )
        return secret

    async def set_price(
        self, model: str, *, input_usd: str, output_usd: str, **fields: Any
    ) -> None:
        """USD per million tokens, since yesterday."""
        now = datetime.now(UTC)
        await self._prices.insert(
            PriceVersion(
                price_id=uuid7(time.time_ns() // 1_000_000, os.urandom(10)),
                model=model,
                effective_from=now - timedelta(days=1),
                created_at=now,
                **{"rates": Rates(input=Decimal(input_usd), output=Decimal(output_usd)), **fields},
            )
        )

    async def user_of(self, secret: str) -> str:
        key = await self.keys.get_by_hash(secret_hash(secret))
        assert key is not None
        return key.user_id

    async def all_events(self) -> list[UsageEvent]:
        """What waits in the queue, in the order of its jobs."""
        found: list[UsageEvent] = []
        for job_id in await self.redis.zrange(QUEUE, 0, -1):
            job = await self.redis.get(job_key_prefix.encode() + job_id)
            assert job is not None
            found += map(decode_event, split_batch(decode_job(job)["a"][0]))
        return found

    async def post_to_ledger(self, secret: str) -> None:
        """What the worker would do with the key's events; then Redis forgets what they made."""
        ledger = LedgerStore(self.database)
        await ledger.create_indexes()
        for event in await self.events(secret):
            accepted = accept(event, event.started_at)
            assert isinstance(accepted, UsageEvent)
            entry = entry_of(accepted, None, event.started_at)
            assert isinstance(entry, LedgerEntry)
            await ledger.post([entry])
        for key in await self.redis.keys("gateway:*:object:*"):
            await self.redis.delete(key)

    async def events(self, secret: str) -> list[UsageEvent]:
        """Those of the key's account."""
        user_id = await self.user_of(secret)
        return [event for event in await self.all_events() if event.user_id == user_id]

    async def the_event(self, secret: str) -> UsageEvent:
        """The one and only of the key's account."""
        (event,) = await self.events(secret)
        return event

    async def held(self, secret: str) -> int:
        return await self.holds.held(await self.user_of(secret))


class Client:
    """A client of one gateway."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def post(
        self, path: str, secret: str | None, body: Any, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        """`body` is JSON unless it is bytes already."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", **bearer(secret), **(headers or {})}
        return await self.http.post(path, content=content, headers=sent)


def bearer(secret: str | None) -> dict[str, str]:
    return {} if secret is None else {"authorization": f"Bearer {secret}"}


@asynccontextmanager
async def open_books(mongo_uri: str, redis_url: str) -> AsyncIterator[Books]:
    async with open_database(mongo_uri) as database, open_redis(redis_url) as redis:
        await KeyStore(database).create_indexes()
        yield Books(database, redis)


def settings_for(
    mongo_uri: str, redis_url: str, upstream_url: str, directory: Path, **changes: Any
) -> Settings:
    """Both native providers are at `upstream_url`; the spool is in `directory`.

    Of MongoDB the gateway may only read, so that each of its tests shows that it does no more.
    """
    prices = directory / "prices.json"
    prices.write_text(json.dumps(PRICE_MAP))
    fields: dict[str, Any] = {
        "mongo_uri": Secret(as_user(mongo_uri, "gateway")),
        "redis_url": Secret(redis_url),
        "openai_api_key": Secret(PROVIDER_KEY),
        "openai_base_url": f"{upstream_url}/v1",
        "anthropic_api_key": Secret(PROVIDER_KEY),
        "anthropic_base_url": upstream_url,
        "price_map_path": str(prices),
        "spool_dir": str(directory / "spool"),
    }
    return Settings(**(fields | changes))


@asynccontextmanager
async def open_gateway(
    settings: Settings, state_factory: StateFactory = open_state
) -> AsyncIterator[Client]:
    """A gateway of this process, behind a real HTTP server."""
    async with serving(create_app(settings, state_factory)) as url, connected(url) as client:
        yield client


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A client of the gateway at the URL."""
    async with httpx2.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as http:
        yield Client(http)


@asynccontextmanager
async def serving(
    app: ASGIApp,
    *,
    grace_s: int = 5,
    send_timeout_s: float = 60,
    refuse: Refuse = refuse,
    bounds: Bounds = BOUNDS,
) -> AsyncIterator[str]:
    """Any ASGI application at the URL, as `serve` does; connections wait until it has started."""
    listener = socket.create_server((HOST, 0), backlog=512)
    options = server_options(
        refuse=refuse, grace_s=grace_s, send_timeout_s=send_timeout_s, bounds=bounds
    )
    config = uvicorn.Config(app, **options)
    server = uvicorn.Server(config)
    # Its public `serve` would take the process' signals.
    running = asyncio.create_task(server._serve(sockets=[listener]))
    try:
        yield "http://{}:{}".format(*listener.getsockname())
    finally:
        server.should_exit = True
        await running


class Announcing:
    """A meter that says when it is given an event."""

    def __init__(self, meter: Meter, committing: asyncio.Event) -> None:
        self._meter = meter
        self._committing = committing

    async def enqueue(self, metered: Metered) -> None:
        self._committing.set()
        await self._meter.enqueue(metered)

    def enqueue_nowait(self, metered: Metered) -> None:
        self._meter.enqueue_nowait(metered)

    def require_writable(self) -> None:
        self._meter.require_writable()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns once the condition holds; for servers and processes, which set no events."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.02)


def with_parts(change: Callable[[Parts, State, Settings], dict[str, Any]]) -> StateFactory:
    """The usual state, but for those parts of the gateway that `change` returns."""

    @asynccontextmanager
    async def open_changed(settings: Settings) -> AsyncIterator[State]:
        async with open_state(settings) as state:
            gateway = state["gateway"]
            changed = msgspec.structs.replace(gateway, **change(gateway, state, settings))
            yield State(**(state | {"gateway": changed}))

    return open_changed
