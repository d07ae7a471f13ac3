"""The databases behind a gateway: what an administrator writes, and what the ledger would read."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from arq.constants import job_key_prefix

from libs.common.domain.entries import accept, entry_of
from libs.common.domain.ids import secret_hash, uuid7
from libs.common.domain.money import usd_to_nusd
from libs.common.schemas.account import Account, Budget, BudgetPeriod
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.key import ApiKey
from libs.common.schemas.price import PriceVersion, Rates
from libs.common.schemas.usage import UsageEvent
from libs.common.storage.indexes import WORKER_INDEXES
from libs.common.storage.mongo import keys
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database, open_database
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.queue.event_queue import decode_event, decode_job, queues_of, split_batch
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.shards import shards_of
from tests.support.polling import PATIENCE_S


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
        """What waits in each queue, in the order of its jobs."""
        events: list[UsageEvent] = []
        for queue in queues_of(shards_of(self.redis)):
            for job_id in await self.redis.zrange(queue.name, 0, -1):
                job = await self.redis.get(job_key_prefix.encode() + job_id)
                assert job is not None
                events += map(decode_event, split_batch(decode_job(job)["a"][0]))
        return events

    async def post_to_ledger(self, secret: str) -> None:
        """What the worker would do with the key's events; then Redis forgets what they made."""
        ledger = LedgerStore(self.database)
        await build_indexes(self.database, WORKER_INDEXES)
        for event in await self.events(secret):
            accepted = accept(event, event.started_at)
            assert isinstance(accepted, UsageEvent)
            entry = entry_of(accepted, {}, event.started_at)
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


@asynccontextmanager
async def open_books(mongo_uri: str, redis_url: str) -> AsyncIterator[Books]:
    async with (
        open_database(mongo_uri, operation_timeout_s=PATIENCE_S) as database,
        open_redis(redis_url) as redis,
    ):
        await build_indexes(database, keys.INDEXES)
        yield Books(database, redis)
