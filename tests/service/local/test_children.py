"""Child processes: tied to the process that starts them, or registered before they begin."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from redis import Redis

from deploy.local import children
from deploy.local.environment import ROOT
from deploy.local.process import lives
from tests.servers import redis_server
from tests.support.polling import block_until

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends children so")
PATIENCE_S = 20.0


def is_alive(pid: int) -> bool:
    try:
        return lives(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


@linux
def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    server = redis_server(tmp_path)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    # The kernel signals the children of a thread when it takes the thread away, after the join.
    block_until(lambda: not Path(f"/proc/self/task/{thread.native_id}").exists(), PATIENCE_S)
    try:
        with Redis.from_url(server.url) as redis:
            assert redis.ping()
    finally:
        server.stop()


@linux
def test_a_child_of_another_parent_does_not_start(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    *launcher, parent, gate, command, argument = children.tied(("touch", str(marker)))
    other = (*launcher, str(int(parent) + 1), gate, command, argument)
    completed = subprocess.run(other, check=False, capture_output=True, timeout=PATIENCE_S)
    assert completed.returncode == 1
    assert b"parent ended" in completed.stderr
    assert not marker.exists()


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_parent_that_dies_before_registering_leaves_no_child(
    tmp_path: Path, is_tied: bool
) -> None:
    """So that no process runs whose pid is nowhere."""
    marker, pid = tmp_path / "ran", tmp_path / "pid"
    code = f"""
import os, signal, sys
from pathlib import Path
from deploy.local import children

def register(pid):
    Path({str(pid)!r}).write_text(str(pid))
    os.kill(os.getpid(), signal.SIGKILL)

children.start(
    ("touch", {str(marker)!r}), log=sys.stdout.buffer, environment=os.environ,
    directory=Path("."), is_tied={is_tied}, register=register,
)
"""
    parent = subprocess.run((sys.executable, "-c", code), cwd=ROOT, check=False, timeout=PATIENCE_S)
    assert parent.returncode == -signal.SIGKILL
    block_until(lambda: not is_alive(int(pid.read_text())), PATIENCE_S)
    assert not marker.exists()


def test_a_missing_command_is_named(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = children.start(
            ("/no/such/program",), log=log, environment={}, directory=tmp_path, is_tied=False
        )
    assert child.wait(PATIENCE_S) == 1
    assert (tmp_path / "log").read_text() == "/no/such/program: No such file or directory\n"


def test_the_command_gets_its_environment_and_an_empty_stdin(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = children.start(
            ("sh", "-c", "cat; echo $A"),
            log=log,
            environment={**os.environ, "A": "b"},
            directory=tmp_path,
            is_tied=False,
        )
    assert child.wait(PATIENCE_S) == 0
    assert (tmp_path / "log").read_text() == "b\n"
