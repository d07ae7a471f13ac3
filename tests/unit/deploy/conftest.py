"""One chart for all tests that render it."""

from collections.abc import Iterator

import pytest
from helm_python import Chart

from tests.unit.deploy.charts import CHART


@pytest.fixture(scope="session")
def chart() -> Iterator[Chart]:
    with Chart.load(CHART) as loaded:
        yield loaded
