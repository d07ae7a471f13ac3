"""What a test of the worker needs: accounts, a price, events, and a look at what came of them."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from prometheus_client import Counter

from libs.common.domain.checkpoints import Checkpoint
from libs.common.domain.ids import uuid7
from libs.common.prover import prover_of
from libs.common.schemas.account import Account
from libs.common.schemas.holds import LimitScope, PeriodLimit, Spent
from libs.common.schemas.price import PriceVersion, Rates
from libs.common.schemas.usage import TokenUsage, UsageEvent
from libs.common.settings import Secret
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.dead_letters import DeadLetterStore
from libs.common.storage.mongo.driver import Database, open_database
from libs.common.storage.mongo.entries import EntryStore
from libs.common.storage.mongo.entry_filter import EntryFilter
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.queue.event_queue import (
    encode_batch,
    encode_event,
    enqueue_batch,
    enqueue_job,
    queue_is_empty,
    queues_of,
)
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.shards import shards_of
from services.ledger_worker.assembly import WorkerResources
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.process import wait_until_ready, work
from services.ledger_worker.settings import Settings
from services.ledger_worker.settler import Settler
from tests.support.polling import eventually

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PERIODS = ("total", "2026-11", "2026-W48", "2026-11-24")
MODEL, PROVIDER = "stand-in-1", "openai"
# 1,000 input tokens at 3 USD and 100 output tokens at 15 USD per million.
CALL_NUSD = 4_500_000


_numbers = itertools.count()


def new_call_id(started_at: datetime = NOW) -> str:
    """Holds the time of the start, as the gateway mints it; each is larger than those before."""
    entropy = next(_numbers).to_bytes(7) + os.urandom(3)
    return uuid7(int(started_at.timestamp() * 1000), entropy)


def make_event(user_id: str = "alice", **changes: Any) -> UsageEvent:
    """A finished call that costs CALL_NUSD."""
    fields: dict[str, Any] = {
        "call_id": new_call_id(changes.get("started_at", NOW)),
        "user_id": user_id,
        "key_id": "key-1",
        "started_at": NOW,
        "format": "chat",
        "requested_model": MODEL,
        "provider": PROVIDER,
        "model": MODEL,
        "status": "ok",
        "http_status": 200,
        "usage": TokenUsage(input_text=1000, output_text=100),
        "usage_source": "provider",
    }
    return UsageEvent(**(fields | changes))


def make_events(number: int, user_id: str = "alice") -> list[UsageEvent]:
    return [make_event(user_id) for _ in range(number)]


def altered(event: UsageEvent, **changes: Any) -> bytes:
    """The event's bytes with fields that its type would not allow."""
    return msgspec.msgpack.encode(msgspec.to_builtins(event) | changes)


def batch_of_raws(raws: Sequence[bytes]) -> bytes:
    return msgspec.msgpack.encode([msgspec.Raw(raw) for raw in raws])


class Stage:
    """The two databases, and the stores over them."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self.database = database
        self.redis = redis
        self.shards = shards_of(redis)
        self.queues = queues_of(self.shards)
        self.accounts = AccountStore(database)
        self.prices = PriceStore(database)
        self.ledger = LedgerStore(database)
        self.dead_letters = DeadLetterStore(database)
        self.holds = HoldStore(redis)
        self.entries = EntryStore(database)
        self.settler = Settler(
            ledger=self.ledger,
            holds=self.holds,
            keys=KeyStore(database),
        )
        self.metrics = Metrics()

    def resources(
        self, settings: Settings | None = None, price_map: PriceMap | None = None
    ) -> WorkerResources:
        urls = "mongodb://127.0.0.1", "redis://127.0.0.1"
        return WorkerResources(
            settings=settings_for(*urls) if settings is None else settings,
            database=self.database,
            redis=self.redis,
            price_map=PriceMap(b"{}") if price_map is None else price_map,
            metrics=self.metrics,
        )

    async def prepare(self) -> None:
        assert await wait_until_ready(self.database, self.redis, asyncio.Event())
        for user_id in ("alice", "bob"):
            await self.add_account(user_id)
        await self.set_price(MODEL, "3", "15")

    async def add_account(self, user_id: str) -> None:
        account = Account(user_id=user_id, name=user_id, created_at=NOW, updated_at=NOW)
        assert await self.accounts.insert(account)

    async def set_price(self, model: str, input_usd: str, output_usd: str) -> str:
        price_id = new_call_id()
        await self.prices.insert(
            PriceVersion(
                price_id=price_id,
                model=model,
                effective_from=datetime(2026, 1, 1, tzinfo=UTC),
                rates=Rates(input=Decimal(input_usd), output=Decimal(output_usd)),
                created_at=datetime.now(UTC),
            )
        )
        return price_id

    async def enqueue(self, events: Sequence[UsageEvent], job_id: str | None = None) -> str:
        shard = self.shards.of(events[0].user_id) if events else 0
        return await self.enqueue_payload(encode_batch(events), job_id, shard)

    async def enqueue_raws(self, *raws: bytes) -> str:
        return await self.enqueue_payload(batch_of_raws(raws))

    async def enqueue_payload(
        self, payload: bytes, job_id: str | None = None, shard: int = 0
    ) -> str:
        job_id = job_id or new_call_id()
        async with self.redis.pipeline(transaction=True) as pipeline:
            enqueue_batch(pipeline, self.queues[shard], job_id, payload)
            await pipeline.execute()
        return job_id

    async def enqueue_raw_job(self, job: bytes) -> str:
        job_id = new_call_id()
        async with self.redis.pipeline(transaction=True) as pipeline:
            enqueue_job(pipeline, self.queues[0], job_id, job)
            await pipeline.execute()
        return job_id

    async def hold(self, event: UsageEvent, nusd: int = CALL_NUSD) -> None:
        """Takes the call's hold, as the gateway does at admission."""
        await self.holds.seed(event.user_id, [Spent(period="total", nusd=0)])
        await self.holds.admit(
            event.user_id,
            event.call_id,
            hold_nusd=nusd,
            tokens=0,
            lease_s=3600,
            scopes=[LimitScope(budgets=(PeriodLimit("total", 10**15),))],
            event=encode_event(event),
        )

    async def queue_is_empty(self) -> bool:
        return await queue_is_empty(self.redis)

    async def drained(self) -> None:
        await eventually(self.queue_is_empty)

    async def entry_ids(self, user_id: str = "alice") -> list[str]:
        page = await self.ledger.list(EntryFilter(user_id=user_id), now=NOW, limit=100_000)
        return [entry.entry_id for entry in page.entries]

    async def retried(self) -> None:
        """At least one job has been put back since the stage was opened."""

        async def put_back() -> bool:
            return count_of(self.metrics.retries) > 0

        await eventually(put_back)

    def calls_counted(self) -> float:
        """How many posted calls Prometheus is told of."""
        samples = (each for metric in self.metrics.registry.collect() for each in metric.samples)
        return sum(each.value for each in samples if each.name == "ledger_calls_total")

    async def assert_exact(self, user_id: str, calls: int, *, nusd: int | None = None) -> None:
        """One entry per call, and every sum that is kept says what they cost."""
        ids = await self.entry_ids(user_id)
        assert len(ids) == len(set(ids)) == calls
        expected = calls * CALL_NUSD if nusd is None else nusd
        proof = await prover_of(self.database, self.redis).prove(user_id, full=True)
        assert proof.difference is None
        assert proof.checkpoint == Checkpoint(
            user_id=user_id, seq=calls, nusd=expected, periods=dict.fromkeys(PERIODS, expected)
        )

    async def spent_in_redis(self, user_id: str, period: str = "total") -> int | None:
        spent = await self.redis.get(f"{self.shards.root_of(user_id)}:spent:{period}")
        return None if spent is None else int(spent.split(b":")[0])


def count_of(counter: Counter) -> float:
    """A counter's value, the sum of its children where it has labels."""
    samples = [sample for metric in counter.collect() for sample in metric.samples]
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


@asynccontextmanager
async def open_stage(mongo_uri: str, redis_url: str) -> AsyncIterator[Stage]:
    async with open_database(mongo_uri) as database, open_redis(redis_url) as redis:
        yield Stage(database, redis)


def settings_for(mongo_uri: str, redis_url: str, **changes: Any) -> Settings:
    fields: dict[str, Any] = {
        "mongo_uri": Secret(mongo_uri),
        "redis_url": Secret(redis_url),
        "worker_name": "test",
        "worker_max_jobs": 16,
        "worker_metrics_port": 0,
    }
    return Settings(**(fields | changes))


@asynccontextmanager
async def working(
    stage: Stage, settings: Settings, price_map: PriceMap | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    """A worker in this process, until the block ends."""
    stop = asyncio.Event()
    task = asyncio.create_task(work(stage.resources(settings, price_map), stop))
    try:
        yield task
    finally:
        stop.set()
        await task
