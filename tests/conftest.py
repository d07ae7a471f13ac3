"""Profiles of hypothesis; none has a deadline for an example.

- `dev`: few examples, for an answer in seconds while you work.
- `full`: `make test` for all tests, and the default if CI is set.
- `long`: a minute or more of each test, for those that `make test-api` names.

Each run has new examples, but those of CI are the same.
"""

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests.support import scratch

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

if (_memory := scratch.in_memory()) is not None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_memory))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Lets collection make its many objects, which stay, without the garbage collector."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Exempts what collection made from the garbage collector, which a large heap slows down.

    The little garbage among it is not worth the look at all the rest.
    """
    gc.freeze()
