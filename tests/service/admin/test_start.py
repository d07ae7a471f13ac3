"""`python -m services.admin` as a process: what it refuses, and how it runs and ends."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pymongo import MongoClient

from deploy.local.environment import without_settings
from tests.servers import ServerProcess, free_port, mongo_server, running
from tests.service.admin.conftest import ADMIN_KEY
from tests.users import PASSWORD

SECRETS = {"ADMIN_API_KEY", "MONGO_URI", "REDIS_URL"}
COMMAND = (sys.executable, "-m", "services.admin")
Environment = Callable[..., dict[str, str]]


@pytest.fixture
def environment(mongo_uri: str, redis_url: str) -> Environment:
    def with_changes(**changes: str) -> dict[str, str]:
        return {
            **without_settings(os.environ),
            "MONGO_URI": mongo_uri,
            "REDIS_URL": redis_url,
            "ADMIN_API_KEY": ADMIN_KEY,
            "ADMIN_HOST": "127.0.0.1",
            **changes,
        }

    return with_changes


def refusal(environment: dict[str, str], *options: str) -> str:
    """The one line with which the start ends."""
    command = (*COMMAND, *options)
    completed = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert completed.returncode == 1, completed.stderr
    [line] = completed.stderr.splitlines()
    return line


def test_missing_indexes_of_a_large_ledger_are_built_by_a_command(
    environment: Environment, mongo_uri: str, tmp_path: Path
) -> None:
    with MongoClient[Any](mongo_uri) as client:
        entries = client.get_default_database()["entries"]
        entries.insert_many([{"_id": str(n)} for n in range(5_001)])
        line = refusal(environment())
        assert line.startswith("services.admin: indexes are missing in entries (5,001 documents)")
        assert "`python -m services.admin --build-indexes`" in line

        command = (*COMMAND, "--build-indexes")
        completed = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert completed.returncode == 0, completed.stderr
        assert "user_id_1_started_at_1__id_1" in entries.index_information()
    with serving(environment(), tmp_path):
        pass


def test_a_replica_set_is_not_sharded(environment: Environment, mongo_uri: str) -> None:
    line = refusal(environment(), "--shard-collections")
    assert line == "services.admin: MONGO_URI does not name a sharded cluster's mongos"
    with MongoClient[Any](mongo_uri) as client:
        assert client.get_default_database().list_collection_names() == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ADMIN_API_KEY", "too-short"),
        ("PRICE_MAP_PATH", "/nowhere/map.json"),
    ],
)
def test_an_invalid_setting_is_one_line_that_names_it(
    environment: Environment, variable: str, value: str
) -> None:
    line = refusal(environment(**{variable: value}))
    assert variable in line
    assert not value or variable not in SECRETS or value not in line


def test_a_standalone_mongo_is_one_line(environment: Environment, tmp_path: Path) -> None:
    with running(mongo_server(tmp_path, standalone=True)) as server:
        assert "--replSet" in refusal(environment(MONGO_URI=server.url))


def test_a_mongo_that_does_not_answer_is_one_line(environment: Environment) -> None:
    uri = f"mongodb://user:hush@127.0.0.1:{free_port()}/x?replicaSet=rs"
    line = refusal(environment(MONGO_URI=uri, MONGO_WAIT_S="1"))
    assert "MONGO_URI" in line
    assert "hush" not in line


def test_a_wrong_password_differs_from_a_server_that_is_down(environment: Environment) -> None:
    right = environment()["MONGO_URI"]
    line = refusal(environment(MONGO_URI=right.replace(PASSWORD, "another"), MONGO_WAIT_S="1"))
    assert line == ("services.admin: MongoDB rejects the login of MONGO_URI (AuthenticationFailed)")


@contextmanager
def serving(environment: dict[str, str], directory: Path) -> Iterator[tuple[ServerProcess, Path]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = ["env", *(f"{k}={v}" for k, v in environment.items()), f"ADMIN_PORT={port}", *COMMAND]
    with running(ServerProcess(url, command, port, directory)) as server:
        yield server, directory / "server.log"


def break_keys(mongo_uri: str) -> None:
    """Makes looking a key up fail as only a bug would, with a traceback."""
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        client.get_default_database()["keys"].update_many({}, {"$unset": {"user_id": 1}})


def test_heads_are_bounded(environment: Environment, tmp_path: Path) -> None:
    with serving(environment(), tmp_path) as (server, _):
        answer = httpx2.get(f"{server.url}/health", headers={f"x-{n}": "1" for n in range(200)})
        assert answer.status_code == 431
        assert answer.json()["code"] == "request_head_too_large"
        assert httpx2.get(f"{server.url}/health").status_code == 200


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_the_service_starts_and_logs_no_secrets(
    environment: Environment, tmp_path: Path, log_format: str
) -> None:
    variables = environment(LOG_FORMAT=log_format, LOG_LEVEL="debug")
    with serving(variables, tmp_path) as (server, log):
        with httpx2.Client(
            base_url=server.url, headers={"authorization": f"Bearer {ADMIN_KEY}"}
        ) as admin:
            assert admin.get("/ready").status_code == 200
            assert admin.get("/admin/costs?model=gpt-4o").status_code == 200
            assert admin.post("/admin/accounts", json={"user_id": "a"}).status_code == 201
            secret = admin.post("/admin/keys", json={"user_id": "a"}).json()["api_key"]
            break_keys(variables["MONGO_URI"])
            answers = [
                admin.get(f"/admin/keys/{secret}"),
                admin.get(f"/admin/keys/{secret}/"),
                admin.get(f"/admin/nothing/{secret}"),
                admin.patch(f"/admin/keys/{secret}", json={"status": "gone"}),
                admin.delete(f"/admin/keys/{secret}", headers={"authorization": "Bearer x"}),
            ]
            assert [answer.status_code for answer in answers] == [500, 500, 404, 422, 401]
        assert server.terminate() == 0
    text = log.read_text()
    assert "/admin/keys/{api_key}" in text
    assert "Traceback" in text
    assert secret[12:] not in text
    assert ADMIN_KEY not in text
