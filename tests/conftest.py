"""Hypothesis: properties take no heed of how long an example takes.

- `dev`, where nothing else is said: few examples, for an answer in seconds while you work.
- `full`: what `make test` runs for all tests, with new examples each time.
- `ci`, where CI is set: as many, and the same ones each time.
"""

import os

from hypothesis import HealthCheck, settings

_slow = [HealthCheck.too_slow]
settings.register_profile("full", max_examples=100, deadline=None, suppress_health_check=_slow)
settings.register_profile("dev", settings.get_profile("full"), max_examples=15)
settings.register_profile(
    "ci", settings.get_profile("full"), derandomize=True, database=None, print_blob=True
)
_default = "ci" if os.environ.get("CI") else "dev"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _default))
