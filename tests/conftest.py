"""Profiles of hypothesis; none has a deadline for an example.

- `dev`, the default: few examples, for an answer in seconds while you work.
- `full`: `make test` for all tests, with new examples in each run.
- `long`: a minute or more of each test, for those that `make test-api` names.
- `ci`, if CI is set: as many examples as `full`, the same in each run.
"""

import gc
import os

from hypothesis import HealthCheck, settings

_slow = [HealthCheck.too_slow]
settings.register_profile("full", max_examples=100, deadline=None, suppress_health_check=_slow)
settings.register_profile("dev", settings.get_profile("full"), max_examples=15)
settings.register_profile("long", settings.get_profile("full"), max_examples=2_000)
settings.register_profile(
    "ci", settings.get_profile("full"), derandomize=True, database=None, print_blob=True
)
_default = "ci" if os.environ.get("CI") else "dev"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _default))


def pytest_collection_finish() -> None:
    """Exempts what collection made from the garbage collector, which a large heap slows down."""
    gc.collect()
    gc.freeze()
