"""`make bench-ledger`: events per second from the queue to the commit, beside the raw limit.

The raw limit is what the same MongoDB takes of the same documents by plain `insert_many` and one
`$inc` a batch: no transaction, no rollups, no periods, no holds.
"""

import argparse
import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

import msgspec
import psutil
import pymongo

from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack
from libs.common.domain.ids import uuid7
from libs.common.schemas.account import Account
from libs.common.schemas.usage import TokenUsage, UsageEvent
from libs.common.storage.accounts import AccountStore
from libs.common.storage.event_queue import encode_batch, enqueue_batch
from libs.common.storage.mongo import open_database
from libs.common.storage.redis import open_redis

_EVENTS_PER_JOB = 50
_RAW_BATCH = 500
_POLL_S = 0.002
_LIMIT_S = 180.0
_PACED_S = 6.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    accounts: int
    workers: int
    # Of all events, how many go to the first account.
    hot_share: float = 0.0


LOADS = (
    Load(name="1 account, 1 worker", accounts=1, workers=1),
    Load(name="1 account, 2 workers", accounts=1, workers=2),
    Load(name="1,000 accounts, 1 worker", accounts=1000, workers=1),
    Load(name="1,000 accounts, 2 workers", accounts=1000, workers=2),
    Load(name="1,000 accounts, one takes half, 2 workers", accounts=1000, workers=2, hot_share=0.5),
)


class Ledger:
    """One stack, reached below its services."""

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

    def events(self, count: int) -> list[UsageEvent]:
        hot = int(count * self._load.hot_share)
        return [_event(0 if n < hot else n % self._load.accounts) for n in range(count)]

    async def create_accounts(self) -> None:
        now = datetime.now(UTC)
        async with open_database(self._stack.info.mongo_uri) as database:
            store = AccountStore(database)
            for n in range(self._load.accounts):
                user_id = f"bench-{n}"
                await store.insert(
                    Account(user_id=user_id, name=user_id, created_at=now, updated_at=now)
                )

    async def enqueue(self, events: Sequence[UsageEvent], *, every_s: float = 0.0) -> list[float]:
        """When each event was enqueued."""
        enqueued: list[float] = []
        due = time.monotonic()
        async with open_redis(self._stack.info.redis_url) as redis:
            for start in range(0, len(events), _EVENTS_PER_JOB):
                job = events[start : start + _EVENTS_PER_JOB]
                async with redis.pipeline(transaction=True) as pipeline:
                    enqueue_batch(pipeline, _new_id(), encode_batch(job))
                    await pipeline.execute()
                enqueued += [time.monotonic()] * len(job)
                due += every_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        return enqueued

    async def committed(self, before: int, count: int) -> list[float]:
        """When the n-th event was seen to be committed, of `count` beyond `before`."""
        seen: list[float] = []
        async with asyncio.timeout(_LIMIT_S):
            while len(seen) < count:
                there = await asyncio.to_thread(self.count) - before
                seen += [time.monotonic()] * (there - len(seen))
                await asyncio.sleep(_POLL_S)
        return seen

    def count(self) -> int:
        return self._database["entries"].estimated_document_count()

    @contextmanager
    def paused(self) -> Iterator[None]:
        for name in self._workers:
            self._stack.signal(name, signal.SIGSTOP)
        try:
            yield
        finally:
            for name in self._workers:
                self._stack.signal(name, signal.SIGCONT)

    def raw_limit(self, count: int) -> float:
        """Events per second."""
        documents = list(self._database["entries"].find().limit(count))
        raw = self._database["raw_entries"]
        raw.create_index([("user_id", 1), ("_id", -1)])
        began = time.monotonic()
        for start in range(0, len(documents), _RAW_BATCH):
            batch = documents[start : start + _RAW_BATCH]
            raw.insert_many(batch)
            cost = sum(document["cost_nusd"] for document in batch)
            self._database["raw_accounts"].update_one(
                {"_id": "all"}, {"$inc": {"spent_nusd": cost}}, upsert=True
            )
        elapsed = time.monotonic() - began
        raw.drop()
        return len(documents) / elapsed

    def rss_mb(self) -> float:
        pids = [self._stack.pid(name) for name in self._workers]
        return max(psutil.Process(pid).memory_info().rss for pid in pids if pid is not None) / 1e6


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


async def measure(ledger: Ledger, count: int) -> str:
    await ledger.create_accounts()
    before = ledger.count()
    with ledger.paused():
        await ledger.enqueue(ledger.events(count))
    began = time.monotonic()
    committed = await ledger.committed(before, count)
    rate = count / (committed[-1] - began)
    raw = await asyncio.to_thread(ledger.raw_limit, count)
    p99_s = await _latency(ledger, rate / 2)
    return (
        f"{rate:8.0f} events/s   raw limit {raw:8.0f}   share {rate / raw:4.0%}"
        f"   p99 at half load {p99_s * 1000:6.0f} ms   worker RSS {ledger.rss_mb():4.0f} MB"
    )


async def _latency(ledger: Ledger, rate: float) -> float:
    """Seconds from queue to commit, 99th percentile, at that many events per second."""
    count = max(_EVENTS_PER_JOB, int(rate * _PACED_S))
    before = ledger.count()
    async with asyncio.TaskGroup() as tasks:
        sent = tasks.create_task(
            ledger.enqueue(ledger.events(count), every_s=_EVENTS_PER_JOB / rate)
        )
        seen = tasks.create_task(ledger.committed(before, count))
    waits = [at - since for since, at in zip(sent.result(), seen.result(), strict=False)]
    return quantiles(waits, n=100)[98]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    count = parser.parse_args().events
    for load in LOADS:
        with tempfile.TemporaryDirectory(prefix="bench-ledger-") as directory:
            stack = LocalStack(
                Path(directory),
                without_settings(os.environ) | {"LOG_LEVEL": "warning"},
                workers=load.workers,
                free_ports=True,
            )
            try:
                stack.start()
                result = asyncio.run(measure(Ledger(stack, load), count))
            finally:
                stack.stop()
        print(f"{load.name:<42} {result}", flush=True)


if __name__ == "__main__":
    main()
