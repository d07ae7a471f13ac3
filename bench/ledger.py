"""`make bench-ledger`: events per second from the queue to the commit, beside the raw limit.

The raw limit is what the same MongoDB takes of the same documents by plain `insert_many` and one
`$inc` a batch: no transaction, no rollups, no periods, no holds. Its collection has the indexes of
`entries`, so that the difference is what the posting costs and not what the indexes do; without
them it is printed too. CPU time is that of each process per event, from the operating system, with
the rollups of all events, written once: with all on one machine, it says more than the clock.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles

import msgspec

from bench.ledger_stack import EVENTS_PER_JOB, Ledger, Load
from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack

_PACED_S = 6.0

LOADS = (
    Load(name="1 account, 1 worker", accounts=1, workers=1),
    Load(name="1 account, 2 workers", accounts=1, workers=2),
    Load(name="1,000 accounts, 1 worker", accounts=1000, workers=1),
    Load(name="1,000 accounts, 2 workers", accounts=1000, workers=2),
    Load(
        name="1,000 accounts, keys with budgets, 1 worker",
        accounts=1000,
        workers=1,
        key_budgets=True,
    ),
    Load(name="1,000 accounts, one takes half, 2 workers", accounts=1000, workers=2, hot_share=0.5),
    Load(name="1 account, 1 worker, 1 event a job", accounts=1, workers=1, events_per_job=1),
    Load(
        name="1 account, 1 worker, 1 event a job, 200/s",
        accounts=1,
        workers=1,
        events_per_job=1,
        pace=200,
    ),
)


class LedgerResult(msgspec.Struct, frozen=True, kw_only=True):
    """Rates in events per second, CPU time in µs per event."""

    rate: float
    raw: float
    raw_bare: float
    raw_cpu: float
    cpu: Mapping[str, float]
    p99_ms: float
    rss_mb: float


async def measure(ledger: Ledger, load: Load, count: int) -> LedgerResult:
    await ledger.create_accounts()
    if load.pace is None:
        with ledger.pause_workers():
            await ledger.enqueue(ledger.events(count))
            start_s, cpu_before = time.monotonic(), ledger.cpu_s()
        done = await ledger.done(count)
    else:
        start_s, cpu_before = time.monotonic(), ledger.cpu_s()
        done, _ = await _run_paced(ledger, count, load.pace)
    rate = count / (done[-1] - start_s)
    await ledger.roll_up()
    cpu = {name: (s - cpu_before[name]) / count * 1e6 for name, s in ledger.cpu_s().items()}
    raw, raw_cpu = await asyncio.to_thread(ledger.raw_limit, count, indexed=True)
    raw_bare, _ = await asyncio.to_thread(ledger.raw_limit, count, indexed=False)
    half_rate = rate / 2
    _, waits_s = await _run_paced(ledger, max(EVENTS_PER_JOB, int(half_rate * _PACED_S)), half_rate)
    return LedgerResult(
        rate=rate,
        raw=raw,
        raw_bare=raw_bare,
        raw_cpu=raw_cpu,
        cpu=cpu,
        p99_ms=quantiles(waits_s, n=100)[98] * 1000,
        rss_mb=ledger.rss_mb(),
    )


async def _run_paced(ledger: Ledger, count: int, rate: float) -> tuple[list[float], list[float]]:
    """When each event's job was done, and how many seconds after it had been enqueued."""
    async with asyncio.TaskGroup() as tasks:
        enqueuing = tasks.create_task(ledger.enqueue(ledger.events(count), rate=rate))
        watching = tasks.create_task(ledger.done(count))
    done = watching.result()
    return done, [at - since for since, at in zip(enqueuing.result(), done, strict=False)]


def run(load: Load, count: int) -> LedgerResult:
    with tempfile.TemporaryDirectory(prefix="bench-ledger-") as directory:
        stack = LocalStack(
            Path(directory),
            without_settings(os.environ) | {"LOG_LEVEL": "warning"},
            workers=load.workers,
            free_ports=True,
        )
        try:
            stack.start()
            return asyncio.run(measure(Ledger(stack, load), load, count))
        finally:
            stack.stop()


def summary(results: Sequence[LedgerResult]) -> str:
    """Medians."""

    def middle(name: str) -> float:
        return float(median(getattr(result, name) for result in results))

    cpu = {name: median(result.cpu[name] for result in results) for name in results[0].cpu}
    share = median(result.rate / result.raw for result in results)
    cpu_share = median(result.raw_cpu / result.cpu["mongo"] for result in results)
    return (
        f"{middle('rate'):6.0f} events/s, raw {middle('raw'):6.0f} (bare {middle('raw_bare'):6.0f})"
        f"  share {share:4.0%}"
        f"  CPU µs/event: worker {cpu['worker']:5.0f} redis {cpu['redis']:4.0f}"
        f" mongo {cpu['mongo']:5.0f} (raw {middle('raw_cpu'):5.0f}, share {cpu_share:4.0%})"
        f"  p99 at half load {middle('p99_ms'):5.0f} ms  worker RSS {middle('rss_mb'):3.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1, help="interleaved; medians are printed")
    parser.add_argument("--only", default="", help="loads whose name contains this")
    arguments = parser.parse_args()
    loads = [load for load in LOADS if arguments.only in load.name]
    results: dict[str, list[LedgerResult]] = {load.name: [] for load in loads}
    for _ in range(arguments.rounds):
        for load in loads:
            results[load.name].append(run(load, arguments.events))
    for name, load_results in results.items():
        print(f"{name:<47} {summary(load_results)}", flush=True)


if __name__ == "__main__":
    main()
