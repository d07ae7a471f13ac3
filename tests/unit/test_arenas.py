"""In a process of its own, since no thread may have started before."""

import platform
import subprocess
import sys

import pytest

# Each thread holds what it allocated until all have, so that none ends before another begins.
_PROGRAM = """
import ctypes
import sys
from threading import Barrier, Thread

from libs.common.arenas import share_arena

if sys.argv[1:] == ["shared"]:
    share_arena()
together = Barrier(4)


def work() -> None:
    held = bytearray(50_000)
    together.wait()
    del held


threads = [Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc has arenas")
def test_threads_share_one_arena() -> None:
    assert _arenas("shared") == 1
    assert _arenas() > 1


def _arenas(*arguments: str) -> int:
    completed = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, check=True
    )
    return completed.stderr.count("Arena ")
