"""What the other service tests rely on: separate databases, an empty Redis, servers that crash."""

from pathlib import Path
from typing import Any

import pytest

from deploy.local import mongo_stand_in
from libs.common.storage.mongo.driver import MongoUnsuitable, in_transaction, open_database, ping
from libs.common.storage.redis.client import open_redis
from tests.servers import mongo_server, redis_server, running
from tests.support.polling import PATIENCE_S
from tests.users import named


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_starts_with_empty_stores(
    mongo_uri: str, redis_url: str, turn: int
) -> None:
    async with (
        open_database(mongo_uri, operation_timeout_s=PATIENCE_S) as database,
        open_redis(redis_url) as redis,
    ):
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


async def test_a_standalone_mongo_server_is_recognized(tmp_path: Path) -> None:
    with running(mongo_server(tmp_path, standalone=True)) as server:
        async with open_database(server.url) as database:
            with pytest.raises(MongoUnsuitable, match="replSet"):
                await ping(database)


# Takes mongod's flags, and runs the stand-in, which says that it is a primary.
FAKE_MONGOD = """#!/bin/sh
echo "$@" >"{arguments}"
while [ $# -gt 0 ]; do
    case "$1" in
    --port) port=$2 ;;
    --dbpath) data=$2 ;;
    esac
    shift
done
exec "{stand_in}" --host 127.0.0.1 --port "$port" --storage-path "$data" --sync-on-commit
"""


@pytest.fixture
def fake_mongod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the arguments of the last start."""
    programs = tmp_path / "bin"
    programs.mkdir()
    arguments = tmp_path / "arguments"
    program = programs / "mongod"
    program.write_text(FAKE_MONGOD.format(arguments=arguments, stand_in=mongo_stand_in.binary()))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return arguments


def test_a_mongod_on_path_is_started_killed_and_started(fake_mongod: Path, tmp_path: Path) -> None:
    with running(mongo_server(tmp_path)) as server:
        assert server.url.endswith("?replicaSet=rs0")
        server.kill()
        server.start()
    assert fake_mongod.read_text().endswith("--replSet rs0\n")


def test_a_standalone_mongod_gets_no_set(fake_mongod: Path, tmp_path: Path) -> None:
    with running(mongo_server(tmp_path, standalone=True)):
        assert "--replSet" not in fake_mongod.read_text()


def test_a_mongod_with_users_gets_a_key_on_the_same_port(fake_mongod: Path, tmp_path: Path) -> None:
    with running(mongo_server(tmp_path)) as server:
        pass
    with running(mongo_server(tmp_path, auth="root:secret", port=server.port)) as again:
        assert again.port == server.port
    key = tmp_path / "member.key"
    assert fake_mongod.read_text().endswith(f"--replSet rs0 --auth --keyFile {key}\n")
    assert key.stat().st_mode & 0o777 == 0o600


# Rows as the two servers' profilers write them.
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"command": {"find": "keys", "filter": {}}}, ("find", "keys")),
        ({"command": {"update": "keys", "updates": [{"upsert": True}]}}, ("upsert", "keys")),
        (
            {"op": "update", "ns": "gateway.keys", "command": {"q": {}, "u": {}, "upsert": False}},
            ("update", "keys"),
        ),
        (
            {"op": "update", "ns": "gateway.keys", "command": {"q": {}, "u": {}, "upsert": True}},
            ("upsert", "keys"),
        ),
        (
            {"op": "remove", "ns": "gateway.keys", "command": {"q": {}, "limit": 1}},
            ("delete", "keys"),
        ),
    ],
)
def test_a_profiled_row_names_command_and_collection(
    row: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert named(row) == expected
