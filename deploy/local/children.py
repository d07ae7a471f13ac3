"""Starts child processes so that a killed parent leaves none behind that nobody knows of.

A tied child ends with this process, `kill -9` included. Linux alone can do that: elsewhere a killed
parent leaves its children running. A child that is not tied outlives this process, and does not
begin before `register` has noted its pid where a later command finds it.
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
        _launched(command, parent=os.getpid() if is_tied else 0, is_gated=True),
        cwd=directory,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    process = child.result()
    assert process.stdin is not None
    # A launcher that is gone already has said why in its log.
    with contextlib.suppress(BrokenPipeError), process.stdin as gate:
        register(process.pid)
        gate.write(b"\n")
    return process


def tied(command: Sequence[str]) -> tuple[str, ...]:
    """The command as one that ends with the thread that starts it.

    The main thread lives as long as the process; another one may not, and needs `start`.
    """
    return _launched(command, parent=os.getpid(), is_gated=False)


def _launched(command: Sequence[str], *, parent: int, is_gated: bool) -> tuple[str, ...]:
    # Isolated and without site-packages: it starts faster, and the environment is the command's.
    python = (sys.executable, "-I", "-S", _LAUNCHER)
    return (*python, str(parent), str(int(is_gated)), *command)


@cache
def _forker() -> ThreadPoolExecutor:
    """Its one thread lives as long as this process: to the kernel, that thread is the parent."""
    return ThreadPoolExecutor(1, thread_name_prefix="forker")
