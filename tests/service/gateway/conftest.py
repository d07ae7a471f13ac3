"""A scripted provider, the books, and a gateway between them; one of each for a module's tests.

Tests do not disturb each other: each makes accounts and keys of its own and looks at their events
alone. One that stops servers or wants other settings opens a gateway of its own. The fixtures live
on their module's event loop, so such a module says `pytest.mark.asyncio(loop_scope="module")`.
"""

from collections.abc import AsyncIterator, Callable
from functools import partial
from uuid import uuid4

import pytest
import pytest_asyncio
from redis import Redis

from services.gateway.settings import Settings
from tests.servers import ServerProcess, database_url
from tests.service.gateway.dialects import DIALECTS, Dialect
from tests.service.gateway.stage import Client, open_gateway, settings_for
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books, open_books

SettingsWith = Callable[..., Settings]


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    param: Dialect = request.param
    return param


@pytest.fixture(scope="module")
def module_mongo_uri(mongo_session: ServerProcess) -> str:
    return database_url(mongo_session, f"test_{uuid4().hex}")


@pytest.fixture(scope="module")
def module_redis_url(redis_session: ServerProcess) -> str:
    with Redis.from_url(redis_session.url) as client:
        client.flushall()
    return redis_session.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream().serving() as upstream:
        yield upstream


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def books(module_mongo_uri: str, module_redis_url: str) -> AsyncIterator[Books]:
    async with open_books(module_mongo_uri, module_redis_url) as books:
        yield books


@pytest.fixture(scope="module")
def settings_with(
    module_mongo_uri: str,
    module_redis_url: str,
    upstream: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> SettingsWith:
    """Makes settings for the module's servers, with these changes."""
    directory = tmp_path_factory.mktemp("gateway")
    return partial(settings_for, module_mongo_uri, module_redis_url, upstream.url, directory)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(settings_with: SettingsWith) -> AsyncIterator[Client]:
    async with open_gateway(settings_with(max_body_bytes=100_000)) as client:
        yield client
