"""`make bench-accounts`: a call and a round of the proof with few accounts and with many.

Accounts are written into a database (`accounts_seed`), on which a stack then starts. Some of them,
spread over all, make a call, with the gateway's caches cold, and another one, while the ledger
worker is halted, so that MongoDB's queries are the gateway's, and some pages of the proof's round
are read; then it posts the calls. CPU time is that of each process, from the operating system.
"""

import argparse
import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pymongo
from redis import Redis

from bench.accounts_seed import seed_accounts
from bench.load import LoadJob, run_job
from bench.systems import System, systems
from bench.whole import await_posted, example_body
from deploy.local.state import StackInfo
from libs.common.domain.ids import secret_hash
from libs.common.domain.periods import period_keys
from libs.common.logging import configure_logging
from libs.common.prover import prover_of
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Document, open_database
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.redis.client import open_redis
from tests.servers import redis_server, running
from tests.support.sent_commands import sent_commands

_US = 1e6
# The stand-in for MongoDB reads two collections for a page of the proof.
_TIMEOUT_S = 900.0
_POSTING = ("ledger_worker", "redis", "mongo")
_IDLE_SHARE = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.accounts", description=__doc__)
    parser.add_argument("--accounts", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--calls", type=int, default=300)
    # Of the proof's round; minutes each where the stand-in has a million accounts.
    parser.add_argument("--pages", type=int, default=4)
    # Where databases are kept, by their number of accounts, for the next run.
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    configure_logging("bench", "warning", "console")
    for accounts in options.accounts:
        with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
            directory = options.keep or Path(temporary)
            _measure(directory / f"{accounts}", accounts, options)


def _measure(directory: Path, accounts: int, options: argparse.Namespace) -> None:
    secrets = seed_accounts(directory, accounts, options.calls)
    with _stack(directory) as (info, gateway):

        def tell(line: str) -> None:
            print(f"{accounts:,} accounts: {line}", flush=True)

        _wait_until_idle(gateway)
        for name, rss_mb in gateway.rss_mb().items():
            tell(f"{name} {rss_mb:.0f} MB")
        tell(asyncio.run(_examined_documents(info.mongo_uri, secrets[0])))
        with _suspend(gateway.pids["ledger_worker"]):
            for line in _calls(info.mongo_uri, gateway, secrets):
                tell(line)
            if options.pages:
                tell(asyncio.run(_round(info.mongo_uri, info.redis_url, options.pages)))
            tell(_posting(info.redis_url, gateway, 2 * len(secrets)))


@contextmanager
def _stack(directory: Path) -> Iterator[tuple[StackInfo, System]]:
    """On a database that is there, with an empty Redis.

    The worker makes no proof of its own, nor does it count the entries of all accounts, for which
    the stand-in for MongoDB reads them all.
    """
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as temporary,
        running(redis_server(Path(temporary))) as server,
    ):
        with Redis.from_url(server.url) as redis:
            redis.set("gateway:worker:segments", b"taken")
        settings = {"WORKER_VERIFY_S": "0", "REDIS_URL": server.url}
        with systems(settings, directory=directory) as (info, [*_, gateway]):
            pids = gateway.pids | {"redis": server.pid}
            yield info, msgspec.structs.replace(gateway, pids=pids)


@contextmanager
def _suspend(pid: int) -> Iterator[None]:
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
            job = LoadJob(
                url=url,
                api_key="",
                api_keys=list(secrets),
                body=body,
                concurrency=1,
                requests=len(secrets),
            )
            cpu, queries_before = gateway.cpu_s(), _queries(client)
            count = len(run_job(job).latencies_s)
            spent = {name: s - cpu[name] for name, s in gateway.cpu_s().items()}
            own = ", ".join(
                f"{name} {spent[name] / count * _US:.0f}" for name in ("gateway", "mongo")
            )
            queries = (_queries(client) - queries_before) / count
            yield f"a call, caches {caches}: {queries:.2f} queries, CPU us {own}"


def _queries(client: pymongo.MongoClient[Document]) -> int:
    counters = client.admin.command("serverStatus")["opcounters"]
    return int(counters["query"])


async def _round(mongo_uri: str, redis_url: str, most: int) -> str:
    async with (
        open_database(mongo_uri, operation_timeout_s=_TIMEOUT_S) as database,
        open_redis(redis_url) as redis,
    ):
        prover = prover_of(database, redis)
        after, accounts, pages = None, 0, 0
        began_s = time.process_time()
        with sent_commands() as commands:
            while pages < most and (pages == 0 or after is not None):
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


async def _examined_documents(mongo_uri: str, secret: str) -> str:
    """What MongoDB says that it looks at for what a call with cold caches asks."""
    counts = []
    async with open_database(mongo_uri, operation_timeout_s=_TIMEOUT_S) as database:
        with sent_commands() as commands:
            key = await KeyStore(database).get_by_hash(secret_hash(secret))
            assert key is not None
            await AccountStore(database).get(key.user_id)
            periods = period_keys(datetime.now(UTC))
            await LedgerReader(database).spend_with_revisions([key.user_id], periods)
        for command in commands:
            find = {name: command[name] for name in ("find", "filter", "limit") if name in command}
            plan = await database.command("explain", find, verbosity="executionStats")
            counts.append(f"{command['find']} {plan['executionStats']['totalDocsExamined']}")
    return f"documents looked at by each query: {', '.join(counts)}"


def _posting(redis_url: str, gateway: System, calls: int) -> str:
    """What waits for the halted worker, which goes on."""
    before = gateway.cpu_s()
    os.kill(gateway.pids["ledger_worker"], signal.SIGCONT)
    asyncio.run(await_posted(redis_url))
    spent = {name: s - before[name] for name, s in gateway.cpu_s().items()}
    own = ", ".join(f"{name} {spent[name] / calls * _US:.0f}" for name in _POSTING)
    return f"posting {calls} events of {calls // 2} accounts: CPU us an event: {own}"


def _wait_until_idle(gateway: System) -> None:
    """A worker that starts looks at what there is."""
    used_s = 1.0
    while used_s > _IDLE_SHARE:
        before = gateway.cpu_s()["mongo"]
        time.sleep(1)
        used_s = gateway.cpu_s()["mongo"] - before


if __name__ == "__main__":
    main()
