"""Fixtures of the service tests: real servers, one process each for the whole session.

- `mongo_uri`: a database that no other test uses, on a real MongoDB-compatible replica set, for a
  user who may do everything; `tests.users.as_user` has the URI of a service's own user.
- `redis_url`: a real Redis-compatible server, emptied before the test.
- `cluster_session`: a real cluster of them, with what earlier tests have left.

Tests that use them are marked `mongo` and `redis`. They must not kill or stop these servers; a
test that needs to starts one of its own with `tests.servers`.
"""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from redis import Redis

from tests.clusters import Cluster, cluster
from tests.servers import ServerProcess, database_url, redis_server, running
from tests.users import mongo_server_with_users

_MARKERS = {"mongo_session": "mongo", "redis_session": "redis", "cluster_session": "redis"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        for fixture, marker in _MARKERS.items():
            if fixture in fixtures:
                item.add_marker(marker)


@pytest.fixture(scope="session")
def mongo_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running(mongo_server_with_users(tmp_path_factory.mktemp("mongo"))) as server:
        yield server


@pytest.fixture
def mongo_uri(mongo_session: ServerProcess) -> str:
    return database_url(mongo_session, f"test_{uuid4().hex}")


@pytest.fixture(scope="session")
def redis_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running(redis_server(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.fixture(scope="session")
def cluster_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three masters and their replicas. A test may kill a node that it starts again."""
    with cluster(tmp_path_factory.mktemp("cluster"), replicas=True) as made:
        yield made


@pytest.fixture
def redis_url(redis_session: ServerProcess) -> str:
    with Redis.from_url(redis_session.url) as client:
        client.flushall()
    return redis_session.url
