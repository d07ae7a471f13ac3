"""The command line in front of the admin app: in one process, with real stores behind it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count

import pytest
from starlette.applications import Starlette

from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from services.admin.settings import Settings
from tests.service.admin.conftest import NOW, app_with, database, redis, settings
from tests.support.command_line import CommandLine, serving

__all__ = ["database", "redis", "settings"]


@pytest.fixture
def app(settings: Settings, database: Database, redis: Redis) -> Starlette:
    """Its clock goes on a little with each look, so that what is made later is later."""
    ticks = count()
    return app_with(settings, database, redis, lambda: NOW + timedelta(milliseconds=next(ticks)))


@pytest.fixture
async def ctl(app: Starlette) -> AsyncIterator[CommandLine]:
    async with serving(app) as command_line:
        yield command_line
