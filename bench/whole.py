"""What a call of many accounts costs the whole stack: gateway, worker and both databases.

Calls of a thousand accounts share less than those of one: each account has a document, holds and
rollups of its own. CPU time is counted until the last call is posted and settled.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import median

import msgspec
from redis import Redis

from bench.load import Job, Result, run_job
from bench.systems import System
from deploy.local.state import StackInfo
from libs.common.domain.ids import new_secret, secret_hash, secret_prefix
from libs.common.schemas.account import Account, Budget
from libs.common.schemas.key import ApiKey
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import open_database
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.queue.event_queue import QUEUE

ACCOUNTS = 1000
WHOLE = f"whole stack, {ACCOUNTS:,} accounts"
_AT_A_TIME = (1, 16)
_BUDGET = Budget(limit_nusd=10**15, period="monthly")
_POSTED_S = 120.0
_US = 1e6


def measure_whole(
    info: StackInfo, gateway: System, body: bytes, *, requests: int, rounds: int
) -> Iterator[str]:
    """A line for each number of calls at a time; medians over the rounds."""
    secrets = asyncio.run(_add_accounts(info.mongo_uri))
    # Every key and budget is known to the gateway and to Redis then.
    _one_round(info, gateway, body, secrets, at_a_time=16, requests=ACCOUNTS)
    for at_a_time in _AT_A_TIME:
        count = requests if at_a_time > 1 else requests // 4
        rows = [
            _one_round(info, gateway, body, secrets, at_a_time=at_a_time, requests=count)
            for _ in range(rounds)
        ]
        cpu = {name: median(row[name] for row in rows) for name in rows[0]}
        own = ", ".join(f"{name} {us:.0f}" for name, us in cpu.items())
        whole = median(sum(row.values()) for row in rows)
        yield (
            f"JSON, {at_a_time} at a time ({count} requests a round): CPU us {whole:.0f} ({own})"
        )


def _one_round(
    info: StackInfo,
    gateway: System,
    body: bytes,
    secrets: list[str],
    *,
    at_a_time: int,
    requests: int,
) -> dict[str, float]:
    """CPU time per call in µs, by process."""
    job = Job(
        url=f"{gateway.url}/v1/chat/completions",
        api_key="",
        api_keys=secrets,
        body=body.decode(),
        concurrency=at_a_time,
        requests=requests,
    )
    before = gateway.cpu_s()
    result: Result = run_job(job)
    _await_posted(info.redis_url)
    after = gateway.cpu_s()
    count = len(result.latencies_s)
    return {name: (after[name] - before[name]) / count * _US for name in after}


def _await_posted(redis_url: str) -> None:
    give_up_at = time.monotonic() + _POSTED_S
    with Redis.from_url(redis_url) as redis:
        while redis.zcard(QUEUE):
            if time.monotonic() > give_up_at:
                raise TimeoutError("the calls are not posted")
            time.sleep(0.05)


async def _add_accounts(mongo_uri: str) -> list[str]:
    """Accounts with a budget and a key each. Returns the keys' secrets."""
    now = datetime.now(UTC)
    secrets = [new_secret(os.urandom(32)) for _ in range(ACCOUNTS)]
    async with open_database(mongo_uri) as database:
        for n, secret in enumerate(secrets):
            user_id = f"bench-{n}"
            account = Account(
                user_id=user_id, name=user_id, budgets=(_BUDGET,), created_at=now, updated_at=now
            )
            key = ApiKey(
                key_id=f"bench-key-{n}",
                user_id=user_id,
                name="bench",
                prefix=secret_prefix(secret),
                secret_hash=secret_hash(secret),
                created_at=now,
                updated_at=now,
            )
            await AccountStore(database).insert(account)
            await KeyStore(database).insert(key)
    return secrets


def example_body(model: str) -> bytes:
    """A chat call of 1 KB."""
    return msgspec.json.encode(
        {"model": model, "messages": [{"role": "user", "content": "x" * 840}]}
    )
