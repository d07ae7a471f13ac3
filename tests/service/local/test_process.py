"""Processes that outlive their starter: found again, never mistaken, always stopped."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from deploy.local.process import Launch, ProcessRecord, Supervisor, lives
from tests.support.polling import block_until

FOREVER = "signal.pause()"
END_ON_TERM = "signal.signal(signal.SIGTERM, lambda *_: sys.exit())"
IGNORE_TERM = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"

Spawn = Callable[..., ProcessRecord]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path)
    yield supervisor
    for name in supervisor.names():
        supervisor.kill(name)


@pytest.fixture
def spawn(supervisor: Supervisor, tmp_path: Path) -> Spawn:
    def start(*statements: str, name: str = "child", digest: str = "a") -> ProcessRecord:
        """Returns once the child has run its statements and is about to wait."""
        ready = tmp_path / f"{name}.ready"
        os.mkfifo(ready)
        code = "\n".join(
            ("import os, signal, sys", *statements, f"open({str(ready)!r}, 'w').close()", FOREVER)
        )
        supervisor.spawn(
            Launch(
                name=name,
                command=(sys.executable, "-c", code),
                environment=dict(os.environ),
                directory=tmp_path,
                digest=digest,
            )
        )
        with ready.open():
            pass
        ready.unlink()
        record = supervisor.find(name)
        assert record is not None
        return record

    return start


def await_exit(pid: int) -> None:
    """Until the process has ended, leaving it a zombie."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_a_process_is_found_until_it_is_stopped(supervisor: Supervisor, spawn: Spawn) -> None:
    record = spawn()
    assert supervisor.find("child") == record
    assert supervisor.names() == ["child"]
    assert supervisor.stop("child", 10)
    assert supervisor.find("child") is None
    assert supervisor.names() == []
    assert not psutil.pid_exists(record.pid)


def test_a_later_command_finds_and_stops_it(
    supervisor: Supervisor, tmp_path: Path, spawn: Spawn
) -> None:
    record = spawn()
    later = Supervisor(tmp_path)
    assert later.find("child") == record
    assert later.stop("child", 10)
    assert later.find("child") is None
    # The parent has nothing left to do but to reap it.
    assert supervisor.stop("child", 10)


def test_a_process_that_ignores_sigterm_is_killed(supervisor: Supervisor, spawn: Spawn) -> None:
    record = spawn(IGNORE_TERM)
    assert not supervisor.stop("child", 0.1)
    assert not psutil.pid_exists(record.pid)


def test_a_paused_process_still_stops_by_itself(supervisor: Supervisor, spawn: Spawn) -> None:
    spawn(END_ON_TERM)
    assert supervisor.signal("child", signal.SIGSTOP)
    assert supervisor.stop("child", 10)


def test_kill_ends_the_children_too(supervisor: Supervisor, spawn: Spawn, tmp_path: Path) -> None:
    child = tmp_path / "grandchild"
    spawn(
        "pid = os.fork()",
        "if pid == 0: signal.pause()",
        f"open({str(child)!r}, 'w').write(str(pid))",
    )
    grandchild = psutil.Process(int(child.read_text()))
    supervisor.kill("child")
    block_until(lambda: not lives(grandchild), 10)


def test_a_reused_pid_is_not_ours(supervisor: Supervisor, spawn: Spawn, tmp_path: Path) -> None:
    stranger = spawn(name="stranger")
    record = msgspec.structs.replace(stranger, created=stranger.created - 3600)
    (tmp_path / "run" / "child.json").write_bytes(msgspec.json.encode(record))
    assert supervisor.find("child") is None
    assert not supervisor.signal("child", signal.SIGKILL)
    supervisor.stop("child", 1)
    supervisor.kill("child")
    assert supervisor.find("stranger") == stranger


def test_a_zombie_is_dead_and_can_be_started_again(supervisor: Supervisor, spawn: Spawn) -> None:
    record = spawn()
    os.kill(record.pid, signal.SIGKILL)
    await_exit(record.pid)
    assert supervisor.find("child") is None
    assert supervisor.names() == ["child"]
    again = spawn()
    assert supervisor.find("child") == again


def test_the_tail_shows_the_last_run_alone(supervisor: Supervisor, spawn: Spawn) -> None:
    spawn("print('first', flush=True)")
    supervisor.kill("child")
    spawn("print('a', 'b', 'second', sep='\\n', flush=True)")
    assert supervisor.tail("child", 2) == "b\nsecond"
    assert supervisor.tail("child", 9) == "a\nb\nsecond"
    assert supervisor.log_path("child").read_text().startswith("first")


def test_a_corrupt_record_is_ignored(supervisor: Supervisor, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "child.json").write_text("{")
    assert supervisor.find("child") is None
    assert supervisor.stop("child", 1)
    assert supervisor.names() == []
