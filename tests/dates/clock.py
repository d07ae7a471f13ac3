"""A wall clock that is off by a constant, for a process and its children. Needs Linux and `cc`."""

import ctypes
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")


def can_build() -> bool:
    return sys.platform == "linux" and shutil.which("cc") is not None


def library(directory: Path) -> Path:
    """The library to preload. Raises OSError where it cannot be loaded."""
    built = directory / "clock.so"
    options = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror")
    subprocess.run(("cc", *options, "-o", str(built), str(_SOURCE), "-ldl"), check=True)
    # A process that cannot preload it says so, but goes on by the real clock.
    ctypes.CDLL(str(built))
    return built


def moved(
    environment: Mapping[str, str], preloaded: Path, now: datetime, zone: str = "UTC"
) -> dict[str, str]:
    """The environment of a process for which it is `now`, and which lives in the zone."""
    # Where this process' own clock is moved already.
    real_s = time.time() - int(os.environ.get("CLOCK_SHIFT_S", "0"))
    shift_s = math.ceil(now.timestamp() - real_s)
    return {
        **environment,
        "LD_PRELOAD": str(preloaded),
        "CLOCK_SHIFT_S": str(shift_s),
        "TZ": zone,
    }
