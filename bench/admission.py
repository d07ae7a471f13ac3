"""What admission adds to a call: the gateway's own component against the stack's Redis, alone.

Redis counts the commands, so that more than one round trip a call would show.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, time_ns

import msgspec

from deploy.local.state import StackInfo
from libs.common.domain.ids import uuid7
from libs.common.schemas.account import Account, Budget, Limits
from libs.common.schemas.key import ApiKey
from libs.common.schemas.price import PriceVersion, Rates
from libs.common.settings import Secret
from libs.common.storage.mongo.driver import open_database
from libs.common.storage.redis.breakers import Breakers
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.shards import shards_of
from services.gateway.admission.admissions import Admissions
from services.gateway.calls.attempts import Attempts
from services.gateway.calls.call import arrive, authenticated_call
from services.gateway.calls.clock import SharedClock
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.calls.principal import Principal
from services.gateway.formats import FORMATS
from services.gateway.settings import Settings
from services.gateway.spool.backlog import Backlog
from services.gateway.spool.spool import Spool

_CALLS = 6_000
_BODY = b'{"model":"bench","messages":[{"role":"user","content":"Hello."}],"max_tokens":100}'
_BUDGETS = (Budget(limit_nusd=10**15, period="monthly"),)


class AdmissionRow(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured. `commands` are Redis' own count per call."""

    kind: str
    concurrency: int
    cpu_us: float
    p50_ms: float
    commands: float


async def measure_admission(info: StackInfo, rounds: int) -> list[AdmissionRow]:
    """Medians over the rounds, which are interleaved."""
    settings = Settings(mongo_uri=Secret(info.mongo_uri), redis_url=Secret(info.redis_url))
    # Only written to while Redis is away.
    backlog = Backlog(Spool(Path(), max_bytes=0))
    async with open_database(info.mongo_uri) as database, open_redis(info.redis_url) as redis:
        admissions = Admissions(
            HoldStore(redis),
            database,
            backlog,
            Breakers(shards_of(redis), 1.0),
            SharedClock(),
            settings,
        )
        rows: defaultdict[tuple[str, int], list[AdmissionRow]] = defaultdict(list)
        for _ in range(rounds):
            for kind, principal in _principals().items():
                for concurrency in (1, 16, 64):
                    row = await _round(admissions, kind, principal, redis, concurrency)
                    rows[kind, concurrency].append(row)
    return [_median(kind_rows) for kind_rows in rows.values()]


def admission_lines(rows: list[AdmissionRow]) -> Iterator[str]:
    yield "\nAdmission alone"
    for row in rows:
        yield (
            f"  {row.kind:<46} {row.concurrency:2d} at a time   CPU us {row.cpu_us:4.0f}"
            f"   p50 {row.p50_ms:6.2f} ms   Redis commands a call {row.commands:.2f}"
        )


async def _round(
    admissions: Admissions, kind: str, principal: Principal, redis: Redis, concurrency: int
) -> AdmissionRow:
    latencies_s: list[float] = []
    prices = {"bench": _price()}

    async def admit_some() -> None:
        for _ in range(_CALLS // concurrency):
            arrival = arrive(FORMATS["chat"], now_ms=time_ns() // 1_000_000)
            call = authenticated_call(arrival, principal)
            request = FORMATS["chat"].decode(_BODY)
            priced = PricedRequest(request=request, prices=prices, input_tokens=20)
            start_s = perf_counter()
            await admissions.admit(call, priced, (), Attempts())
            latencies_s.append(perf_counter() - start_s)
            admissions.close_call(call.call_id, 0)

    before, cpu = await _scripts_run(redis), process_time()
    await asyncio.gather(*(admit_some() for _ in range(concurrency)))
    cpu_s, after = process_time() - cpu, await _scripts_run(redis)
    return AdmissionRow(
        kind=kind,
        concurrency=concurrency,
        cpu_us=cpu_s / len(latencies_s) * 1e6,
        p50_ms=median(latencies_s) * 1e3,
        commands=(after - before) / len(latencies_s),
    )


async def _scripts_run(redis: Redis) -> int:
    """Commands that came from clients; INFO's own count leaves out what scripts call."""
    stats = await redis.info("commandstats")
    return sum(stats[name]["calls"] for name in stats if "eval" in name)


def _median(rows: list[AdmissionRow]) -> AdmissionRow:
    return AdmissionRow(
        kind=rows[0].kind,
        concurrency=rows[0].concurrency,
        cpu_us=median(row.cpu_us for row in rows),
        p50_ms=median(row.p50_ms for row in rows),
        commands=median(row.commands for row in rows),
    )


def _principals() -> dict[str, Principal]:
    every = Limits(requests_per_minute=10**6, tokens_per_minute=10**9, parallel_calls=10**5)
    return {
        "the account's budget": _principal((), Limits()),
        "budgets and every limit of account and key": _principal(_BUDGETS, every),
    }


def _principal(key_budgets: tuple[Budget, ...], limits: Limits) -> Principal:
    now = datetime.now(UTC)
    user_id = f"bench-{uuid7(time_ns() // 1_000_000, os.urandom(10))}"
    account = Account(
        user_id=user_id,
        name=user_id,
        budgets=_BUDGETS,
        limits=limits,
        created_at=now,
        updated_at=now,
    )
    key = ApiKey(
        key_id="bench",
        user_id=user_id,
        name="bench",
        prefix="",
        secret_hash="",
        budgets=key_budgets,
        limits=limits,
        created_at=now,
        updated_at=now,
    )
    return Principal(key, account)


def _price() -> PriceVersion:
    now = datetime.now(UTC)
    return PriceVersion(
        price_id="bench",
        model="bench",
        effective_from=now,
        rates=Rates(input=Decimal("0.15"), output=Decimal("0.6")),
        created_at=now,
    )
