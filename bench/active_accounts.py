"""`python -m bench.active_accounts`: what Redis keeps of accounts with a call, and a sweep costs.

Each account makes one call through the stores that gateway and worker use: announced, admitted,
seeded, finished and settled. What Redis holds is told when all calls are under way, when all are
posted, and when the hour is over for which it keeps copies that no budget has asked for. The server
is one of its own, which writes no file.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import psutil

from libs.common.domain.ids import uuid7
from libs.common.domain.periods import period_keys
from libs.common.schemas.holds import Finished, LimitScope, PeriodLimit, Spent, Unseeded
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.pipelining import Transaction
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.sweep import sweep_all
from tests.servers import ServerProcess, redis_server, running

_AT_ONCE = 100
_EVENT = b"x" * 260
_US, _MB = 1e6, 1e6
_ONE_SHARD = 0
_LEASE_S = 24 * 3600


class ActiveAccounts:
    """As many as that, each with a monthly budget."""

    def __init__(self, redis: Redis, count: int) -> None:
        self._redis = redis
        self._holds = HoldStore(redis)
        self._now = datetime.now(UTC)
        self._periods = period_keys(self._now)
        self._month = next(period for period in self._periods if len(period) == len("2026-11"))
        budget = PeriodLimit(self._month, 10**15)
        self._scopes = (LimitScope(budgets=(budget,)),)
        self.numbers = range(count)

    async def call(self, n: int) -> None:
        user_id = _user_id(n)
        await self._holds.announce_account(user_id)
        if isinstance(await self._admit(n), Unseeded):
            await self._holds.seed(user_id, [self._spent(self._month, 0)])
            await self._admit(n)

    async def _admit(self, n: int) -> object:
        return await self._holds.admit(
            _user_id(n),
            self._call_id(n),
            hold_nusd=9_000,
            tokens=100,
            lease_s=_LEASE_S,
            scopes=self._scopes,
            event=_EVENT,
        )

    async def finish(self, n: int) -> None:
        transaction = Transaction()
        finished = Finished(
            user_id=_user_id(n), call_id=self._call_id(n), key_id=None, cost_nusd=5, tokens=100
        )
        self._holds.finish(transaction, finished)
        await self._holds.transact(transaction)

    async def settle(self, numbers: Iterable[int]) -> None:
        spent = [self._spent(period, 1) for period in self._periods]
        await self._holds.settle_all({_user_id(n): ([self._call_id(n)], spent) for n in numbers})

    async def let_an_hour_pass(self, numbers: Iterable[int]) -> None:
        """Removes what expires then."""
        roots = [self._holds.shards.root_of(_user_id(n)) for n in numbers]
        keys = [f"{root}:spent:{period}" for root in roots for period in self._periods]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.ttl(key)
            left = zip(keys, await pipeline.execute(), strict=True)
        if expiring := [key for key, ttl_s in left if 0 <= ttl_s <= 3600]:
            await self._redis.delete(*expiring)

    def _spent(self, period: str, revision: int) -> Spent:
        return Spent(period=period, nusd=5 * revision, revision=revision)

    def _call_id(self, n: int) -> str:
        return uuid7(int(self._now.timestamp() * 1000), n.to_bytes(10, "big"))


def _user_id(n: int) -> str:
    return f"bench-{n:08d}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.active_accounts", description=__doc__)
    parser.add_argument("--accounts", type=int, default=200_000)
    count = parser.parse_args().accounts
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        # The file that a call waits for is not part of this.
        running(redis_server(Path(directory), "--appendonly", "no")) as server,
    ):
        asyncio.run(_measure(server, count))


async def _measure(process: ServerProcess, count: int) -> None:
    server = psutil.Process(process.pid)
    async with open_redis(process.url) as redis:
        accounts = ActiveAccounts(redis, count)
        await HoldStore(redis).load_scripts()
        empty = await _used_memory(redis)

        async def tell(step: str) -> None:
            size = await _used_memory(redis) - empty
            print(f"{count:,} accounts, {step}: {size / count:.0f} bytes each, {size / _MB:.0f} MB")

        await _all(accounts.numbers, accounts.call)
        await tell("a call of each under way")
        await _all(accounts.numbers, accounts.finish)
        await tell("each finished, not posted")
        await _sweep(redis, server, count, "that hold something")
        for part in _parts(accounts.numbers):
            await accounts.settle(part)
        await tell("each posted")
        await _sweep(redis, server, count, "noted within ten minutes")
        for part in _parts(accounts.numbers):
            await accounts.let_an_hour_pass(part)
        await tell("an hour later, before they are forgotten by the sweep")
        await _sweep(redis, server, count, "forgotten", visited_s=0)
        await tell("and forgotten")


async def _sweep(
    redis: Redis, server: psutil.Process, count: int, what: str, *, visited_s: int = 600
) -> None:
    holds = HoldStore(redis, visited_s=visited_s)
    worker_s, redis_s, start_s = time.process_time(), _cpu_s(server), time.perf_counter()
    await sweep_all(redis, holds, _METRICS, _ONE_SHARD)
    taken_s = time.perf_counter() - start_s
    worker_s, redis_s = time.process_time() - worker_s, _cpu_s(server) - redis_s
    print(
        f"{count:,} accounts {what}, one sweep: {taken_s:.1f} s, CPU us an account: "
        f"worker {worker_s / count * _US:.1f}, Redis {redis_s / count * _US:.1f}",
        flush=True,
    )


async def _all(numbers: range, work: Callable[[int], Awaitable[None]]) -> None:
    for part in _parts(numbers):
        await asyncio.gather(*map(work, part))


def _parts(numbers: range) -> Iterable[range]:
    return (numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE))


async def _used_memory(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


_METRICS = Metrics()

if __name__ == "__main__":
    main()
