"""Starts child processes so that a killed parent leaves no unknown process behind.

A tied child ends with this process, even after `kill -9`. Only Linux can do that: elsewhere the
children of a killed parent go on running. A child that is not tied outlives this process; it begins
only once `register` has recorded its pid for later commands.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import IO

_LAUNCHER = str(Path(__file__).with_name("launcher.py"))


def start(
    command: Sequence[str],
    *,
    log: IO[bytes],
    environment: Mapping[str, str],
    directory: Path,
    is_tied: bool,
    register: Callable[[int], object] = lambda _: None,
) -> subprocess.Popen[bytes]:
    """The process leads a session of its own, and its stdin is empty."""
    child = _forker().submit(
        subprocess.Popen,
        _launcher_command(command, parent=os.getpid() if is_tied else 0, is_gated=True),
        cwd=directory,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    process = child.result()
    assert process.stdin is not None
    # A launcher that has ended already has logged the reason.
    with contextlib.suppress(BrokenPipeError), process.stdin as gate:
        register(process.pid)
        gate.write(b"\n")
    return process


def tied(command: Sequence[str]) -> tuple[str, ...]:
    """Wraps the command so that it ends with the thread that starts it.

    The main thread lives as long as the process. Use `start` in other threads, which may not.
    """
    return _launcher_command(command, parent=os.getpid(), is_gated=False)


def _launcher_command(command: Sequence[str], *, parent: int, is_gated: bool) -> tuple[str, ...]:
    # Isolated and without site-packages: it starts faster, and the environment is the command's.
    python = (sys.executable, "-I", "-S", _LAUNCHER)
    return (*python, str(parent), str(int(is_gated)), *command)


@cache
def _forker() -> ThreadPoolExecutor:
    """One thread that lives as long as this process: the kernel takes that thread as the parent."""
    return ThreadPoolExecutor(1, thread_name_prefix="forker")
