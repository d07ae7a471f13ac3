"""`make bench-accounts`: what a call and a round of the proof cost among few accounts and many.

Accounts are written straight into MongoDB, each with a key, a budget, spend and a checkpoint. Then
some of them, spread over all, make a call, with the gateway's caches cold, and another one; and
some pages of the proof's round are read. The ledger worker is halted meanwhile, so that MongoDB's
queries are the gateway's. CPU time is that of each process, from the operating system.
"""

import argparse
import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo

from bench.example_account import example_account
from bench.load import Job, run_job
from bench.systems import System, systems
from bench.whole import example_body
from libs.common.domain.ids import new_secret
from libs.common.domain.periods import period_keys
from libs.common.domain.verify import Checkpoint
from libs.common.logging import configure_logging
from libs.common.prover import prover_of
from libs.common.storage.mongo.driver import Database, Document, open_database, to_document
from libs.common.storage.mongo.proof_pages import fingerprint
from libs.common.storage.redis.client import open_redis
from tests.support.sent_commands import sent_commands

_AT_ONCE = 1_000
_US = 1e6
_TIMEOUT_S = 120.0
_SPENT_NUSD = 9_000
_ENTRIES = 9
# Pages of the proof's round that are read.
_PAGES = 4


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.accounts", description=__doc__)
    parser.add_argument("--accounts", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--calls", type=int, default=300)
    options = parser.parse_args()
    configure_logging("bench", "warning", "console")
    for accounts in options.accounts:
        # No proof of the worker's own.
        settings = {"WORKER_VERIFY_S": "0"}
        with systems(settings) as (info, [*_, gateway]):
            secrets = asyncio.run(_seed(info.mongo_uri, accounts, options.calls))
            with _halted(gateway.pids["ledger_worker"]):
                for line in _calls(info.mongo_uri, gateway, secrets):
                    print(f"{accounts:,} accounts: {line}")
                line = asyncio.run(_round(info.mongo_uri, info.redis_url))
                print(f"{accounts:,} accounts: {line}")


@contextmanager
def _halted(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _calls(mongo_uri: str, gateway: System, secrets: Sequence[str]) -> Iterator[str]:
    body = example_body(gateway.model).decode()
    url = f"{gateway.url}/v1/chat/completions"
    with pymongo.MongoClient[Document](mongo_uri) as client:
        for caches in ("cold", "warm"):
            job = Job(
                url=url,
                api_key="",
                api_keys=list(secrets),
                body=body,
                concurrency=1,
                requests=len(secrets),
            )
            cpu, asked = gateway.cpu_s(), _queries(client)
            count = len(run_job(job).latencies_s)
            spent = {name: s - cpu[name] for name, s in gateway.cpu_s().items()}
            own = ", ".join(
                f"{name} {spent[name] / count * _US:.0f}" for name in ("gateway", "mongo")
            )
            queries = (_queries(client) - asked) / count
            yield f"a call, caches {caches}: {queries:.2f} queries, CPU us {own}"


def _queries(client: pymongo.MongoClient[Document]) -> int:
    counters = client.admin.command("serverStatus")["opcounters"]
    return int(counters["query"])


async def _round(mongo_uri: str, redis_url: str) -> str:
    async with (
        open_database(mongo_uri, operation_timeout_s=_TIMEOUT_S) as database,
        open_redis(redis_url) as redis,
    ):
        prover = prover_of(database, redis)
        after, accounts, pages = None, 0, 0
        began_s = time.process_time()
        with sent_commands() as commands:
            while pages < _PAGES and (pages == 0 or after is not None):
                pages += 1
                part = await prover.prove_due(
                    after,
                    None,
                    full_every=timedelta(days=7),
                    give_up_at=time.monotonic() + _TIMEOUT_S,
                )
                accounts += part.findings.unchanged
                after = part.findings.next_after
        us = (time.process_time() - began_s) / max(accounts, 1) * _US
    return (
        f"the proof, {accounts:,} unchanged: {len(commands) / pages:.1f} commands a page, "
        f"worker {us:.0f} us CPU an account"
    )


async def _seed(mongo_uri: str, accounts: int, calls: int) -> list[str]:
    """Returns the secrets of as many keys as there are calls."""
    secrets: list[str] = []
    async with open_database(mongo_uri, operation_timeout_s=_TIMEOUT_S) as database:
        for start in range(0, accounts, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, accounts))
            made = [new_secret(os.urandom(32)) for _ in numbers]
            await _insert(database, numbers, made)
            spread = max(accounts // calls, 1)
            secrets += [secret for n, secret in zip(numbers, made, strict=True) if n % spread == 0]
    return secrets[:calls]


async def _insert(database: Database, numbers: Sequence[int], secrets: Sequence[str]) -> None:
    now = datetime.now(UTC)
    spend = dict.fromkeys(period_keys(now), _SPENT_NUSD)
    posted: dict[str, Any] = {
        "entries": _ENTRIES,
        "summed": _ENTRIES,
        "spent_nusd": _SPENT_NUSD,
        "spend": spend,
    }
    accounts, keys, seals = [], [], []
    for n, secret in zip(numbers, secrets, strict=True):
        account, key = example_account(f"{n:08d}", secret, now)
        accounts.append(to_document(account, key="user_id") | posted)
        keys.append(to_document(key, key="key_id"))
        checkpoint = Checkpoint(
            user_id=account.user_id, seq=_ENTRIES, nusd=_SPENT_NUSD, periods=spend
        )
        seal = {"document": fingerprint(posted), "full_at": now}
        seals.append(to_document(checkpoint, key="user_id") | seal)
    await database["accounts"].insert_many(accounts)
    await database["keys"].insert_many(keys)
    await database["checkpoints"].insert_many(seals)


if __name__ == "__main__":
    main()
