"""What a call of many accounts costs the whole stack: gateway, worker and both databases.

Calls of a thousand accounts share less than those of one: each account has a document, holds and
rollups of its own. CPU time is counted until the last call is posted and settled. What it costs to
roll up the sums of all rounds at once is told beside: a worker does so every few minutes.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from statistics import median

import msgspec

from bench.example_account import example_account
from bench.load import LoadJob, LoadResult, run_job
from bench.systems import System
from deploy.local.state import StackInfo
from libs.common.domain.ids import new_secret
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import open_database
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.rollup_segments import RollupSegments
from libs.common.storage.queue.event_queue import queue_is_empty
from libs.common.storage.redis.client import open_redis
from tests.support.polling import eventually

ACCOUNTS = 1000
WHOLE = f"whole stack, {ACCOUNTS:,} accounts"
_AT_A_TIME = (1, 16)
_US = 1e6


def measure_whole(
    info: StackInfo, gateway: System, body: bytes, *, requests: int, rounds: int
) -> Iterator[str]:
    """A line for each number of calls at a time; medians over the rounds."""
    secrets = known_accounts(info, gateway, body)
    rolled_up_s(info, gateway)
    for at_a_time in _AT_A_TIME:
        count = requests if at_a_time > 1 else requests // 4
        rows = [
            one_round(info, gateway, body, secrets, at_a_time=at_a_time, requests=count)
            for _ in range(rounds)
        ]
        cpu = {name: median(row[name] for row in rows) for name in rows[0]}
        own = ", ".join(f"{name} {us:.0f}" for name, us in cpu.items())
        whole = median(sum(row.values()) for row in rows)
        later = rolled_up_s(info, gateway) / (count * rounds) * _US
        yield (
            f"JSON, {at_a_time} at a time ({count} requests a round): CPU us {whole:.0f} ({own}), "
            f"and {later:.0f} to roll up once"
        )


def known_accounts(info: StackInfo, gateway: System, body: bytes) -> list[str]:
    """The secrets of accounts whose keys and budgets the gateway and Redis know."""
    secrets = asyncio.run(_add_accounts(info.mongo_uri))
    one_round(info, gateway, body, secrets, at_a_time=16, requests=ACCOUNTS)
    return secrets


def one_round(
    info: StackInfo,
    gateway: System,
    body: bytes,
    secrets: list[str],
    *,
    at_a_time: int,
    requests: int,
) -> dict[str, float]:
    """CPU time per call in µs, by process."""
    job = LoadJob(
        url=f"{gateway.url}/v1/chat/completions",
        api_key="",
        api_keys=secrets,
        body=body.decode(),
        concurrency=at_a_time,
        requests=requests,
    )
    before = gateway.cpu_s()
    result: LoadResult = run_job(job)
    asyncio.run(await_posted(info.redis_url))
    after = gateway.cpu_s()
    count = len(result.latencies_s)
    return {name: (after[name] - before[name]) / count * _US for name in after}


def rolled_up_s(info: StackInfo, gateway: System) -> float:
    """The CPU time of it, of all processes and of this one, which does it."""

    async def roll_up() -> None:
        async with open_database(info.mongo_uri) as database:
            await RollupSegments(database).roll_up(after_ms=0)

    before, own = sum(gateway.cpu_s().values()), time.process_time()
    asyncio.run(roll_up())
    return sum(gateway.cpu_s().values()) - before + time.process_time() - own


async def await_posted(redis_url: str) -> None:
    async with open_redis(redis_url) as redis:
        await eventually(partial(queue_is_empty, redis))


async def _add_accounts(mongo_uri: str) -> list[str]:
    """Accounts with a budget and a key each. Returns the keys' secrets."""
    now = datetime.now(UTC)
    secrets = [new_secret(os.urandom(32)) for _ in range(ACCOUNTS)]
    async with open_database(mongo_uri) as database:
        for n, secret in enumerate(secrets):
            account, key = example_account(str(n), secret, now)
            await AccountStore(database).insert(account)
            await KeyStore(database).insert(key)
    return secrets


def example_body(model: str) -> bytes:
    """A chat call of 1 KB."""
    return msgspec.json.encode(
        {"model": model, "messages": [{"role": "user", "content": "x" * 840}]}
    )
