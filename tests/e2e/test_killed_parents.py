"""Whoever starts servers may be killed, and leaves none behind."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from deploy.local import children
from deploy.local.environment import ROOT, without_settings
from deploy.local.process import lives
from tests.servers import mongo_binary, redis_binary

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children so")

PATIENCE_S = 60.0
# Parts of the command lines of the servers that each of them starts first.
MONGO = Path(mongo_binary()).name
DATABASES = {MONGO, Path(redis_binary()).name}
STARTERS = {
    "bench": ((sys.executable, "-m", "bench"), DATABASES),
    "bench-ledger": ((sys.executable, "-m", "bench.ledger"), DATABASES),
    "chaos": ((sys.executable, "-m", "tests.chaos", "--seeds", "1"), DATABASES),
    "pytest": (
        (sys.executable, "-m", "pytest", "-q", "tests/service/test_servers.py"),
        {MONGO},
    ),
    "pytest-xdist": (
        (sys.executable, "-m", "pytest", "-q", "-n", "1", "tests/service/test_servers.py"),
        {MONGO},
    ),
    "pytest-worker": (
        (sys.executable, "-m", "pytest", "-q", "tests/service/ledger_worker/test_process.py"),
        {"services.ledger_worker"},
    ),
}


@contextmanager
def starting(command: Sequence[str], log: Path) -> Iterator[psutil.Process]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            children.tied(command),
            cwd=ROOT,
            env=without_settings(os.environ),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def await_servers(parent: psutil.Process, names: set[str], log: Path) -> list[psutil.Process]:
    """All descendants, once each of the names is on the command line of one."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert time.monotonic() < deadline, f"no {names}: {log.read_text()[-2000:]}"
        processes = parent.children(recursive=True)
        lines = [line_of(process) for process in processes]
        if all(any(part in line for line in lines) for part in names):
            return processes
        time.sleep(0.02)


def line_of(process: psutil.Process) -> str:
    """Empty while the process is still its launcher."""
    try:
        line = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
    return "" if "launcher.py" in line else line


@pytest.mark.parametrize("name", STARTERS)
def test_a_killed_parent_leaves_no_server(name: str, tmp_path: Path) -> None:
    command, names = STARTERS[name]
    log = tmp_path / "log"
    with starting(command, log) as parent:
        servers = await_servers(parent, names, log)
        parent.kill()
        deadline = time.monotonic() + PATIENCE_S
        while alive := [process for process in servers if lives(process)]:
            assert time.monotonic() < deadline, alive
            time.sleep(0.02)
