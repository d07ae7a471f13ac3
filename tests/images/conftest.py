"""The images that `make images` built. `make test-images` runs these tests; else there are none."""

import os
from collections.abc import Iterator

import pytest

from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack

collect_ignore_glob = [] if "TEST_IMAGES" in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """For its databases and its provider."""
    environ = without_settings(os.environ)
    stack = LocalStack(tmp_path_factory.mktemp("stack"), environ, free_ports=True)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
