"""`make test-dates` moves the wall clock of a process and its children, and nothing else."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.dates.clock import can_build, library, moved

pytestmark = pytest.mark.skipif(not can_build(), reason="needs Linux and a C compiler")

NOW = datetime(2028, 2, 29, 12, tzinfo=UTC)
WAIT_S = 0.05
CLOCK_REALTIME_COARSE = 5
# Every way in which a process asks for the time, and every wait that could follow a moved clock.
PROBE = """
import ctypes, datetime, json, multiprocessing, subprocess, sys, threading, time

libc = ctypes.CDLL(None)
begun = time.monotonic()
time.sleep({wait_s})
threading.Event().wait({wait_s})
multiprocessing.Semaphore(0).acquire(timeout={wait_s})

class Time(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]

# As a database does that waits for a condition by the wall clock.
condition, mutex = (ctypes.c_char * 64)(), (ctypes.c_char * 64)()
libc.pthread_mutex_lock(mutex)
at = time.time_ns() + int({wait_s} * 1e9)
deadline = Time(at // 10**9, at % 10**9)
libc.pthread_cond_timedwait(condition, mutex, ctypes.byref(deadline))
waited_s = time.monotonic() - begun

coarse, of_day = Time(), Time()
libc.clock_gettime({coarse}, ctypes.byref(coarse))
libc.gettimeofday(ctypes.byref(of_day), None)
child = "import time; print(time.time())"
seconds = [
    time.time(),
    coarse.s,
    of_day.s,
    libc.time(None),
    float(subprocess.run((sys.executable, "-c", child), capture_output=True).stdout),
]
offset = datetime.datetime.now().astimezone().utcoffset().total_seconds()
print(json.dumps([seconds, offset, waited_s, time.monotonic()]))
"""


def probe(environment: dict[str, str]) -> Any:
    code = PROBE.format(wait_s=WAIT_S, coarse=CLOCK_REALTIME_COARSE)
    done = subprocess.run(
        (sys.executable, "-c", code), env=environment, capture_output=True, timeout=30, check=True
    )
    return json.loads(done.stdout)


def test_only_the_wall_clock_is_moved(tmp_path: Path) -> None:
    environment = moved(os.environ, library(tmp_path), NOW, "Asia/Kathmandu")
    seconds, offset_s, waited_s, monotonic_s = probe(environment)
    assert all(-1 <= at - NOW.timestamp() < 30 for at in seconds), seconds
    assert offset_s == (5 * 60 + 45) * 60
    # Neither for a year nor not at all.
    assert 4 * WAIT_S <= waited_s < 20
    _, _, _, monotonic_without_s = probe({**environment, "CLOCK_SHIFT_S": "0"})
    assert 0 < monotonic_without_s - monotonic_s < 30
