"""Profiles of hypothesis; none has a deadline for an example.

- `dev`: few examples, for an answer in seconds while you work.
- `full`: `make test` for all tests, and the default if CI is set.
- `long`: a minute or more of each test, for those that `make test-api` names.

Each run has new examples, but those of CI are the same.
"""

import gc
import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_slow = [HealthCheck.too_slow]
settings.register_profile("full", max_examples=100, deadline=None, suppress_health_check=_slow)
if os.environ.get("CI"):
    settings.register_profile(
        "full", settings.get_profile("full"), derandomize=True, database=None, print_blob=True
    )
settings.register_profile("dev", settings.get_profile("full"), max_examples=15)
settings.register_profile("long", settings.get_profile("full"), max_examples=2_000)
_default = "full" if os.environ.get("CI") else "dev"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _default))

# The servers of tests sync each write to their files. On a busy disk one sync may take seconds,
# longer than a service waits for a database, so the files lie in memory where there is room.
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 * 1024**3
if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Lets collection make its many objects, which stay, without the garbage collector."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Exempts what collection made from the garbage collector, which a large heap slows down."""
    gc.collect()
    gc.freeze()
