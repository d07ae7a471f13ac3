"""The databases with two accounts and a price in them, and a worker's settings for them."""

from collections.abc import AsyncIterator

import pytest

from services.ledger_worker.settings import Settings
from tests.service.ledger_worker.worker_stage import Stage, open_stage, settings_for


@pytest.fixture
def settings(mongo_uri: str, redis_url: str) -> Settings:
    return settings_for(mongo_uri, redis_url)


@pytest.fixture
async def stage(mongo_uri: str, redis_url: str) -> AsyncIterator[Stage]:
    async with open_stage(mongo_uri, redis_url) as opened:
        await opened.prepare()
        yield opened
