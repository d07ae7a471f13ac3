"""How a mongod on PATH is found, started and made a replica set."""

from pathlib import Path
from typing import Any

import pytest

from deploy.local import mongo_stand_in, mongod
from deploy.local.readiness import IsPrimary, Listens
from deploy.local.servers import mongo_server

MEMBER = "127.0.0.1:27017"
UNINITIATED = {"isWritablePrimary": False, "isreplicaset": True}
ELECTING = {"isWritablePrimary": False, "setName": "rs0", "secondary": True}


class Admin:
    """Answers `hello` as told, and keeps what else it is sent."""

    def __init__(self, hello: dict[str, Any]) -> None:
        self.hello = hello
        self.sent: list[tuple[str, Any]] = []

    def command(self, command: str, value: Any = 1, /) -> Any:
        if command == "hello":
            return self.hello
        self.sent.append((command, value))
        return {"ok": 1}


@pytest.fixture
def binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "bin" / "mongod"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent))
    return str(path)


def test_a_mongod_on_path_is_found(binary: str) -> None:
    assert mongod.find() == binary


def test_no_mongod_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert mongod.find() is None
    server = mongo_server({}, 27017, tmp_path)
    assert server.launch.command == mongo_stand_in.command(27017, tmp_path / "mongo")
    assert "--sync-on-commit" in server.launch.command
    assert server.probe == Listens(port=27017)


def test_the_stack_runs_mongod_as_a_member(binary: str, tmp_path: Path) -> None:
    server = mongo_server({}, 27017, tmp_path)
    assert server.launch.command[0] == binary
    assert server.launch.command[-2:] == ("--replSet", "rs0")
    assert server.url.endswith("?replicaSet=rs0")
    assert server.probe == IsPrimary(port=27017)


def test_the_two_servers_have_different_directories(binary: str, tmp_path: Path) -> None:
    command = mongo_server({}, 27017, tmp_path).launch.command
    assert command[command.index("--dbpath") + 1] == str(tmp_path / "mongod")
    assert (tmp_path / "mongod").is_dir()


def test_a_server_without_configuration_is_initiated() -> None:
    admin = Admin(UNINITIATED)
    assert mongod.initiate(admin, MEMBER) == f"{MEMBER} is not primary yet"
    expected = {"_id": "rs0", "members": [{"_id": 0, "host": MEMBER}]}
    assert admin.sent == [("replSetInitiate", expected)]


@pytest.mark.parametrize("hello", [ELECTING, {"isWritablePrimary": True, "setName": "rs0"}])
def test_a_member_is_not_initiated_again(hello: dict[str, Any]) -> None:
    admin = Admin(hello)
    reason = mongod.initiate(admin, MEMBER)
    assert (reason is None) == hello["isWritablePrimary"]
    assert admin.sent == []


def test_a_closed_port_is_a_reason() -> None:
    reason = mongod.check_primary(1, timeout_ms=50)
    assert reason is not None
    assert "port 1" in reason
