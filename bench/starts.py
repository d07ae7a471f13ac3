"""`python -m bench.starts`: how long each service takes until it is ready, and what it takes then.

Beside a whole stack each service starts several times, in turn with the others: time and CPU time
until it says so (gateway and admin service by `/ready`, a worker by its sign of life), and memory.
With `--database` the stack is one that `bench.accounts` has kept.
"""

import argparse
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import msgspec
import psutil
from redis import Redis

from bench.systems import systems
from deploy.local.ports import HOST
from deploy.local.state import StackInfo
from libs.common.storage.redis.shards import ONE
from services.ledger_worker.health import health_keys
from tests.servers import ServerProcess, free_port

_POLL_S = 0.005
_LIMIT_S = 60.0
_MB = 1e6


class TimedStart(msgspec.Struct, frozen=True):
    taken_s: float
    cpu_s: float
    rss_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.starts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--database", type=Path)
    options = parser.parse_args()
    with systems(directory=options.database) as (info, [*_, gateway]):
        environment = psutil.Process(gateway.pids["gateway"]).environ()
        timed_starts: defaultdict[str, list[TimedStart]] = defaultdict(list)
        for n in range(options.rounds):
            for name in ("gateway", "admin", "ledger_worker"):
                timed_starts[name].append(_start(name, n, info, environment))
        for name, starts in timed_starts.items():
            print(f"{name}: {_summary(starts)}")
    print(f"load {os.getloadavg()[0]:.1f}")


def _summary(starts: Sequence[TimedStart]) -> str:
    times_s = sorted(each.taken_s for each in starts)
    cpu = sorted(each.cpu_s for each in starts)
    return (
        f"ready after {median(times_s):.2f} s ({times_s[0]:.2f} to {times_s[-1]:.2f}), CPU "
        f"{median(cpu):.2f} s (least {cpu[0]:.2f}), {median(each.rss_mb for each in starts):.0f} MB"
    )


def _start(name: str, n: int, info: StackInfo, environment: dict[str, str]) -> TimedStart:
    port, worker = free_port(), f"bench-{n}"
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        own = {
            "GATEWAY_PORT": str(port),
            "ADMIN_PORT": str(port),
            "WORKER_METRICS_PORT": str(port),
            "WORKER_METRICS_HOST": HOST,
            "WORKER_NAME": worker,
            "WORKER_VERIFY_S": "0",
            "SPOOL_DIR": directory,
        }
        process = ServerProcess(
            f"http://{HOST}:{port}/ready",
            (sys.executable, "-m", f"services.{name}"),
            port,
            Path(directory),
            environment=environment | own,
        )
        lives = partial(_lives, info.redis_url, worker)
        is_ready = lives if name == "ledger_worker" else partial(_answers, process.url)
        return _timed(process, is_ready)


def _timed(process: ServerProcess, is_ready: Callable[[], bool]) -> TimedStart:
    start_s = time.perf_counter()
    process.start()
    try:
        while not is_ready():
            if time.perf_counter() > start_s + _LIMIT_S:
                raise RuntimeError("not ready")
            time.sleep(_POLL_S)
        taken_s = time.perf_counter() - start_s
        server = psutil.Process(process.pid)
        times = server.cpu_times()
        return TimedStart(taken_s, times.user + times.system, server.memory_info().rss / _MB)
    finally:
        process.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_LIMIT_S) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def _lives(redis_url: str, worker: str) -> bool:
    with Redis.from_url(redis_url) as redis:
        return bool(redis.exists(*health_keys(ONE, worker)))


if __name__ == "__main__":
    main()
