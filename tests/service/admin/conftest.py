"""The admin app over ASGI, with real stores behind it and a clock that stands still.

- `admin` and `database`: a client and a database without documents, of one test.
- `shared_admin` and `shared_database`: of all tests of a module that leave them as they were, such
  as those of what is refused; they say `pytest.mark.asyncio(loop_scope="module")`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from libs.common.settings import Secret
from libs.common.storage.mongo.driver import Database, open_database
from libs.common.storage.redis.client import Redis, open_redis
from services.admin.app import create_app
from services.admin.settings import Settings
from services.admin.state import Resources
from tests.servers import ServerProcess, database_url
from tests.service.admin.documented import check_documented
from tests.support.polling import PATIENCE_S

ADMIN_KEY = "an-admin-key-for-tests"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

Open = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def settings(mongo_uri: str, redis_url: str) -> Settings:
    return settings_of(mongo_uri, redis_url)


@pytest.fixture
async def database(mongo_uri: str) -> AsyncIterator[Database]:
    async with open_database(mongo_uri, operation_timeout_s=PATIENCE_S) as database:
        yield database


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url) as redis:
        yield redis


@pytest.fixture
def app(settings: Settings, database: Database, redis: Redis) -> Starlette:
    return app_with(settings, database, redis)


@pytest.fixture
async def admin(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that holds the admin key."""
    async with client_of(app) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_database(mongo_session: ServerProcess) -> AsyncIterator[Database]:
    uri = database_url(mongo_session, f"test_{uuid4().hex}")
    async with open_database(uri, operation_timeout_s=PATIENCE_S) as database:
        yield database


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_admin(
    shared_database: Database, redis_session: ServerProcess
) -> AsyncIterator[httpx2.AsyncClient]:
    """Other tests of the module empty its Redis."""
    settings = settings_of("mongodb://unused", redis_session.url)
    async with (
        open_redis(redis_session.url) as redis,
        client_of(app_with(settings, shared_database, redis)) as client,
    ):
        yield client


def settings_of(mongo_uri: str, redis_url: str) -> Settings:
    return Settings(
        mongo_uri=Secret(mongo_uri), redis_url=Secret(redis_url), admin_api_key=Secret(ADMIN_KEY)
    )


def app_with(
    settings: Settings,
    database: Database,
    redis: Redis,
    now: Callable[[], datetime] = lambda: NOW,
) -> Starlette:
    """An app on connections that the test opened."""

    @asynccontextmanager
    async def resources(_: Settings) -> AsyncIterator[Resources]:
        yield Resources(database=database, redis=redis)

    return create_app(settings, open_resources=resources, now=now)


@asynccontextmanager
async def client_of(app: Starlette, **parts: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """`parts` take the place of those that the app's state has."""
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": {**(state or {}), **parts}}, receive, send)

        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(with_state),
            base_url="http://admin",
            headers={"authorization": f"Bearer {ADMIN_KEY}"},
            event_hooks={"response": [check_documented]},
        ) as client:
            yield client
