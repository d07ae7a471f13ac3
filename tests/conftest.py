"""Hypothesis: examples are bounded and timeless; where CI is set they are the same every time."""

import os

from hypothesis import HealthCheck, settings

_slow = [HealthCheck.too_slow]
settings.register_profile("dev", max_examples=100, deadline=None, suppress_health_check=_slow)
settings.register_profile(
    "ci", settings.get_profile("dev"), derandomize=True, database=None, print_blob=True
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
