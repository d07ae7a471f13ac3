"""The stores on what they run on: Redis' contract is checked on the fake and on a real server."""

from collections.abc import AsyncIterator

import pytest

from libs.common.storage.mongo.driver import Database, open_database
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.cluster_client import Routed
from tests.clusters import Cluster
from tests.fake_redis import fake_redis
from tests.service.storage.account import AccountCalls
from tests.support.polling import PATIENCE_S
from tests.support.sharding import with_shards


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.redis)])
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    if request.param == "fake":
        async with fake_redis() as fake:
            # Its names are those of a cluster, which the stores must not notice.
            with_shards(fake)
            yield fake
    else:
        async with open_redis(request.getfixturevalue("redis_url")) as client:
            yield client


@pytest.fixture
async def calls(redis: Redis) -> AccountCalls:
    account = AccountCalls(redis)
    await account.holds.load_scripts()
    return account


@pytest.fixture
async def database(mongo_uri: str) -> AsyncIterator[Database]:
    async with open_database(mongo_uri, operation_timeout_s=PATIENCE_S) as opened:
        yield opened


@pytest.fixture
def emptied_cluster(cluster_session: Cluster) -> Cluster:
    cluster_session.empty()
    return cluster_session


@pytest.fixture
async def cluster_redis(emptied_cluster: Cluster) -> AsyncIterator[Routed]:
    async with open_redis(emptied_cluster.url) as redis:
        assert isinstance(redis, Routed)
        yield redis
