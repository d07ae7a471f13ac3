"""A stack whose ledger is measured, reached below its services: straight at its databases."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import psutil
import pymongo

from deploy.local.stack import LocalStack
from libs.common.domain.ids import uuid7
from libs.common.schemas.account import Account, Budget
from libs.common.schemas.key import ApiKey
from libs.common.schemas.usage import TokenUsage, UsageEvent
from libs.common.storage.indexes import INDEXES
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import open_database
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.rollup_segments import RollupSegments
from libs.common.storage.queue.event_queue import QUEUE, encode_batch, enqueue_batch, queues_of
from libs.common.storage.redis.client import open_redis
from libs.common.storage.redis.shards import ONE

EVENTS_PER_JOB = 50
_RAW_BATCH = 500
_POLL_S = 0.005
_LIMIT_S = 180.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    accounts: int
    workers: int
    # Of all events, how many go to the first account.
    hot_share: float = 0.0
    # Each account's key has a budget of its own.
    key_budgets: bool = False
    # 1: as gateways send them that serve one call at a time.
    events_per_job: int = EVENTS_PER_JOB
    # Events per second; None: all of them wait when the workers begin.
    pace: float | None = None


class Ledger:
    """Accounts, events and what becomes of them."""

    def __init__(self, stack: LocalStack, load: Load) -> None:
        self._stack = stack
        self._load = load
        self._workers = [
            f"ledger_worker{'' if n == 1 else f'-{n}'}" for n in range(1, load.workers + 1)
        ]
        self._client = pymongo.MongoClient[dict[str, Any]](
            stack.info.mongo_uri, w="majority", journal=True
        )
        self._database = self._client.get_default_database()
        # Jobs.
        self._enqueued = 0
        self._done = 0

    def events(self, count: int) -> list[UsageEvent]:
        hot = int(count * self._load.hot_share)
        return [_event(0 if n < hot else n % self._load.accounts) for n in range(count)]

    async def create_accounts(self) -> None:
        now = datetime.now(UTC)
        async with open_database(self._stack.info.mongo_uri) as database:
            accounts, keys = AccountStore(database), KeyStore(database)
            for n in range(self._load.accounts):
                user_id = f"bench-{n}"
                await accounts.insert(
                    Account(user_id=user_id, name=user_id, created_at=now, updated_at=now)
                )
                if self._load.key_budgets:
                    await keys.insert(_key(n, now))

    async def enqueue(self, events: Sequence[UsageEvent], *, rate: float = 0.0) -> list[float]:
        """When each event was enqueued; at that many events per second, 0 is at once."""
        enqueued: list[float] = []
        size = self._load.events_per_job
        start_s = time.monotonic()
        async with open_redis(self._stack.info.redis_url) as redis:
            for start in range(0, len(events), size):
                job = events[start : start + size]
                async with redis.pipeline(transaction=True) as pipeline:
                    enqueue_batch(pipeline, queues_of(ONE)[0], _new_id(), encode_batch(job))
                    await pipeline.execute()
                self._enqueued += 1
                enqueued += [time.monotonic()] * len(job)
                if rate:
                    due = start_s + (start + size) / rate
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
        return enqueued

    async def done(self, count: int) -> list[float]:
        """When the n-th of so many events was seen to be committed and settled.

        Redis is asked, by the length of the queue, because MongoDB's CPU time is what is measured.
        """
        times_s: list[float] = []
        before = self._done
        async with open_redis(self._stack.info.redis_url) as redis, asyncio.timeout(_LIMIT_S):
            while len(times_s) < count:
                self._done = max(self._done, self._enqueued - int(await redis.zcard(QUEUE)))
                finished = min((self._done - before) * self._load.events_per_job, count)
                times_s += [time.monotonic()] * (finished - len(times_s))
                await asyncio.sleep(_POLL_S)
        return times_s

    async def roll_up(self) -> None:
        """As a worker does every few minutes."""
        async with open_database(self._stack.info.mongo_uri) as database:
            await RollupSegments(database).roll_up(after_ms=0)

    @contextmanager
    def pause_workers(self) -> Iterator[None]:
        for name in self._workers:
            self._stack.signal(name, signal.SIGSTOP)
        try:
            yield
        finally:
            for name in self._workers:
                self._stack.signal(name, signal.SIGCONT)

    def raw_limit(self, count: int, *, indexed: bool) -> tuple[float, float]:
        """Events per second, and the server's CPU time per event in µs."""
        documents = list(self._database["entries"].find().limit(count))
        raw = self._database["raw_entries"]
        if indexed:
            raw.create_indexes([each.model for each in INDEXES if each.collection == "entries"])
        start_s, cpu_s = time.monotonic(), self.cpu_s()["mongo"]
        for start in range(0, len(documents), _RAW_BATCH):
            batch = documents[start : start + _RAW_BATCH]
            raw.insert_many(batch)
            cost = sum(document["cost_nusd"] for document in batch)
            self._database["raw_accounts"].update_one(
                {"_id": "all"}, {"$inc": {"spent_nusd": cost}}, upsert=True
            )
        elapsed_s = time.monotonic() - start_s
        cpu_s = self.cpu_s()["mongo"] - cpu_s
        raw.drop()
        return len(documents) / elapsed_s, cpu_s / len(documents) * 1e6

    def cpu_s(self) -> dict[str, float]:
        """Of all workers, of MongoDB and of Redis, so far."""
        return {
            "worker": sum(_cpu_s(self._pid(name)) for name in self._workers),
            "mongo": _cpu_s(self._pid("mongo")),
            "redis": _cpu_s(self._pid("redis")),
        }

    def rss_mb(self) -> float:
        """Of the largest worker."""
        sizes = (psutil.Process(self._pid(name)).memory_info().rss for name in self._workers)
        return max(sizes) / 1e6

    def _pid(self, name: str) -> int:
        pid = self._stack.pid(name)
        if pid is None:
            raise RuntimeError(f"{name} does not run")
        return pid


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _key(account: int, now: datetime) -> ApiKey:
    return ApiKey(
        key_id=f"key-{account}",
        user_id=f"bench-{account}",
        name="bench",
        prefix="sk-gw-bench",
        secret_hash=f"{account}",
        budgets=(Budget(limit_nusd=10**15, period="monthly"),),
        created_at=now,
        updated_at=now,
    )


def _event(account: int) -> UsageEvent:
    return UsageEvent(
        call_id=_new_id(),
        user_id=f"bench-{account}",
        key_id=f"key-{account}",
        started_at=datetime.now(UTC),
        format="chat",
        requested_model="gpt-4o-mini",
        provider="openai",
        model="gpt-4o-mini",
        status="ok",
        http_status=200,
        usage=TokenUsage(input_text=1000, cache_read=200, output_text=300),
        usage_source="provider",
    )


def _new_id() -> str:
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))
