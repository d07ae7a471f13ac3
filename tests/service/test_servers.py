"""What the other service tests rely on: separate databases, an empty Redis, servers that crash."""

from pathlib import Path

import pytest

from libs.common.storage.mongo.driver import MongoUnsuitable, in_transaction, open_database, ping
from libs.common.storage.redis.client import open_redis
from tests.servers import mongo_server, redis_server, running


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_starts_with_empty_stores(
    mongo_uri: str, redis_url: str, turn: int
) -> None:
    async with open_database(mongo_uri) as database, open_redis(redis_url) as redis:
        await ping(database)
        assert await database["things"].find_one({}) is None
        assert await redis.dbsize() == 0
        await database["things"].insert_one({"_id": turn})
        await redis.set("thing", turn)


async def test_the_mongo_server_keeps_what_it_acknowledged_when_killed(tmp_path: Path) -> None:
    with running(mongo_server(tmp_path)) as server:
        async with open_database(server.url) as database:
            things = database["things"]
            await in_transaction(
                database, lambda session: things.insert_one({"_id": 1}, session=session)
            )
            server.kill()
            server.start()
            assert await things.find_one({}) == {"_id": 1}


async def test_the_redis_server_keeps_what_it_acknowledged_when_killed(tmp_path: Path) -> None:
    with running(redis_server(tmp_path)) as server:
        async with open_redis(server.url) as redis:
            await redis.set("thing", 1)
        server.kill()
        server.start()
        async with open_redis(server.url) as redis:
            assert await redis.get("thing") == b"1"


async def test_a_standalone_mongo_server_is_told_apart(tmp_path: Path) -> None:
    with running(mongo_server(tmp_path, standalone=True)) as server:
        async with open_database(server.url) as database:
            with pytest.raises(MongoUnsuitable, match="replSet"):
                await ping(database)
