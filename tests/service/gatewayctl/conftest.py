"""The command line in front of the admin app: in one process, with real stores behind it."""

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette

from tests.service.admin.conftest import app, database, redis, settings
from tests.support.command_line import CommandLine, serving

__all__ = ["app", "database", "redis", "settings"]


@pytest.fixture
async def ctl(app: Starlette) -> AsyncIterator[CommandLine]:
    async with serving(app) as command_line:
        yield command_line
