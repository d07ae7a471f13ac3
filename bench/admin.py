"""`make bench-admin`: how long the operators' API takes over a ledger of many accounts.

The ledger is written straight into the databases of a local stack of its own. Each question is
asked `--rounds` times, one after another; printed are the median and the 95th percentile, and `!`
where that is beyond its target. Then exports of `--rows` rows: rows per second, and how much more
memory the service has meanwhile. Before that, every question is asked once of the service in this
process, and what MongoDB is asked is looked at: nothing but lists and exports reads entries, and
these through an index.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx2
import msgspec
import psutil

from bench.admin_pages import (
    MAX_BYTES,
    MAX_GROWTH_MB,
    MAX_POLL_CPU_MS,
    TARGET_MS,
    pages,
    sign_in,
    weigh,
)
from bench.admin_plans import check_plans
from bench.admin_queries import Question, questions
from bench.ledger_seed import LedgerSeed, write, write_entries
from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack
from deploy.local.state import StackInfo
from libs.common.storage.mongo.driver import Database, open_database

_MAX_GROWTH_MB = 50.0
_SEED_TIMEOUT_S = 120.0
_ENTRIES, _DAYS = 100_000, 60
_ACCOUNT = "bench-00000"


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """`cpu_ms`, of the service and MongoDB together, is what an answer takes on an idle machine."""

    p50_ms: float
    p95_ms: float
    cpu_ms: float


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    rows: int
    rows_per_s: float
    growth_mb: float


async def measure(
    client: httpx2.AsyncClient, stack: LocalStack, question: Question, rounds: int
) -> Times:
    times_ms = []
    before_s = _cpu_s(stack)
    for _ in range(rounds):
        start_s = time.perf_counter()
        answer = await client.get(question.path)
        times_ms.append((time.perf_counter() - start_s) * 1000)
        if answer.status_code != 200:
            raise RuntimeError(f"{question.path}: {answer.status_code} {answer.text[:500]}")
    cuts = quantiles(times_ms, n=20, method="inclusive")
    cpu_ms = (_cpu_s(stack) - before_s) * 1000 / rounds
    return Times(p50_ms=cuts[9], p95_ms=cuts[18], cpu_ms=cpu_ms)


def _cpu_s(stack: LocalStack) -> float:
    pids = [stack.pid(name) for name in ("admin", "mongo")]
    times = [psutil.Process(pid).cpu_times() for pid in pids if pid is not None]
    return float(sum(each.user + each.system for each in times))


async def export(client: httpx2.AsyncClient, pid: int, kind: str, query: str = "") -> Exported:
    """The whole ledger, read as fast as it comes."""
    process = psutil.Process(pid)
    before = most = process.memory_info().rss
    start_s, lines = time.perf_counter(), 0
    async with client.stream("GET", f"/admin/usage/export?format={kind}{query}") as answer:
        answer.raise_for_status()
        async for piece in answer.aiter_raw():
            lines += piece.count(b"\n")
            most = max(most, process.memory_info().rss)
    taken_s = time.perf_counter() - start_s
    rows = lines - 1 if kind == "csv" else lines
    return Exported(rows=rows, rows_per_s=rows / taken_s, growth_mb=(most - before) / 1e6)


def shown_times(kind: str, name: str, times: Times, target_ms: float) -> str:
    mark = " " if times.p95_ms <= target_ms else "!"
    figures = f"p50 {times.p50_ms:7.1f}  p95 {times.p95_ms:7.1f}  CPU {times.cpu_ms:6.1f} ms"
    return f"{kind:<10} {name:<56} {figures}  {mark} {target_ms:.0f}"


async def run(stack: LocalStack, seed: LedgerSeed, rounds: int, only: str) -> int:
    """Prints as it goes. Returns how many targets were missed."""
    missed = 0
    selected = [each for each in questions(seed) if only in f"{each.kind} {each.name}"]
    query_count = await check_plans(stack.info, selected)
    print(f"{query_count} queries for {len(selected)} questions: none scans entries", flush=True)
    async with _client(stack.info) as client:
        for question in selected:
            times = await measure(client, stack, question, rounds)
            missed += times.p95_ms > question.target_ms
            print(shown_times(question.kind, question.name, times, question.target_ms), flush=True)
        missed += await _pages(client, stack, rounds, only)
        missed += await _exports(client, stack)
    return missed


async def write_exported(database: Database, seed: LedgerSeed) -> int:
    """Entries alone: they have no sums, and of the indexes those that exports read by."""
    for index in await database["entries"].list_indexes().to_list(None):
        if not {"_id", "started_at"} & {*list(index["key"])[:1]}:
            await database["entries"].drop_index(index["name"])
    await write_entries(database, seed.entries())
    return await database["entries"].estimated_document_count()


async def run_exports(stack: LocalStack, _: LedgerSeed) -> int:
    async with _client(stack.info) as client:
        return await _exports(client, stack)


def _client(info: StackInfo) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {info.admin_api_key}"}
    return httpx2.AsyncClient(base_url=info.admin_url, headers=headers, timeout=_SEED_TIMEOUT_S)


async def _pages(client: httpx2.AsyncClient, stack: LocalStack, rounds: int, only: str) -> int:
    """The console's, by somebody who signed in."""
    pid = _pid(stack)
    before_mb = psutil.Process(pid).memory_info().rss / 1e6
    await sign_in(client, stack.info.admin_api_key)
    missed = 0
    async for name, path in pages(client, _ACCOUNT):
        if only not in f"page {name}":
            continue
        question = Question(kind="page", name=name, path=path, target_ms=TARGET_MS)
        size = len((await client.get(path)).content)
        times = await measure(client, stack, question, rounds)
        missed += times.p95_ms > TARGET_MS or size > MAX_BYTES
        print(f"{shown_times('page', name, times, TARGET_MS)}  {size / 1000:.0f} kB", flush=True)
    weight = await weigh(client, pid, before_mb)
    line = f"RSS +{weight.growth_mb:.1f} MB, a silent poll {weight.poll_cpu_ms:.2f} ms of CPU"
    print(f"pages      {line}", flush=True)
    heavy = weight.growth_mb > MAX_GROWTH_MB, weight.poll_cpu_ms > MAX_POLL_CPU_MS
    return missed + sum(heavy)


def _pid(stack: LocalStack) -> int:
    pid = stack.pid("admin")
    if pid is None:
        raise RuntimeError("the admin service does not run")
    return pid


async def _exports(client: httpx2.AsyncClient, stack: LocalStack) -> int:
    pid = _pid(stack)
    # Memory that the service keeps after its first export is not the export's.
    for kind in ("csv", "ndjson"):
        await export(
            client, pid, kind, f"&since={datetime.now(UTC) - timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"
        )
    missed = 0
    for kind in ("csv", "ndjson"):
        result = await export(client, pid, kind)
        is_large = result.growth_mb > _MAX_GROWTH_MB
        missed += is_large
        mark = "!" if is_large else " "
        print(
            f"export     {kind:<8} {result.rows} rows  {result.rows_per_s:6.0f} rows/s  "
            f"RSS +{result.growth_mb:.1f} MB {mark} {_MAX_GROWTH_MB:.0f}",
            flush=True,
        )
    return missed


def on_a_stack(
    seed: LedgerSeed,
    write_seed: Callable[[Database, LedgerSeed], Coroutine[Any, Any, int]],
    work: Callable[[LocalStack, LedgerSeed], Coroutine[Any, Any, int]],
    kept_directory: Path | None,
) -> int:
    """Seeds it, unless it was kept with a seed that is the same but for its `until`."""
    with tempfile.TemporaryDirectory(prefix="bench-admin-") as temporary:
        directory = kept_directory or Path(temporary)
        seed_file = directory / "seed.json"
        earlier = None
        if seed_file.exists():
            earlier = msgspec.json.decode(seed_file.read_bytes(), type=LedgerSeed)
            seed = msgspec.structs.replace(seed, until=earlier.until)
            if seed != earlier:
                raise SystemExit(f"{directory} has another ledger: {earlier}")
        environment = without_settings(os.environ) | {"LOG_LEVEL": "warning"}
        stack = LocalStack(directory, environment, free_ports=True)
        try:
            stack.start()
            if earlier is None:
                asyncio.run(_seed(stack, seed, write_seed))
                seed_file.write_bytes(msgspec.json.encode(seed))
            return asyncio.run(work(stack, seed))
        finally:
            stack.stop()


async def _seed(
    stack: LocalStack,
    seed: LedgerSeed,
    write_seed: Callable[[Database, LedgerSeed], Coroutine[Any, Any, int]],
) -> None:
    uri = stack.info.mongo_uri
    async with open_database(uri, operation_timeout_s=_SEED_TIMEOUT_S) as database:
        start_s = time.monotonic()
        count = await write_seed(database, seed)
        took_s = time.monotonic() - start_s
    print(f"{count} entries of {seed.accounts} accounts in {took_s:.0f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=_ENTRIES, help="0: an export alone")
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=20, help="of each question; at least 2")
    parser.add_argument(
        "--rows", type=int, default=0, help="of an export of its own, where more than entries"
    )
    parser.add_argument(
        "--keep", type=Path, help="a directory of the databases, filled once and used again"
    )
    parser.add_argument("--only", default="", help="questions whose kind and name contain this")
    options = parser.parse_args(arguments)
    until = datetime.now(UTC).replace(microsecond=0)
    seed = LedgerSeed(accounts=options.accounts, calls=options.entries, days=_DAYS, until=until)
    missed = 0
    if options.entries:
        work = partial(run, rounds=options.rounds, only=options.only)
        missed += on_a_stack(seed, write, work, _under(options.keep, "lists"))
    if options.rows > options.entries:
        days = _DAYS * options.rows // _ENTRIES
        large = msgspec.structs.replace(seed, calls=options.rows, days=days)
        missed += on_a_stack(large, write_exported, run_exports, _under(options.keep, "exports"))
    print(f"{missed} targets missed" if missed else "every target met")


def _under(directory: Path | None, name: str) -> Path | None:
    return None if directory is None else directory / name


if __name__ == "__main__":
    main()
