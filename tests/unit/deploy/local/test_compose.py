"""Which commands Docker is given, by way of a program of that name, and the secrets in `.env`."""

from pathlib import Path

import pytest

from deploy.local import compose
from deploy.local.compose import PASSWORDS, SECRETS, ensure_secrets
from deploy.local.environment import read_environment
from deploy.local.errors import StackError

SCRIPT = """#!/bin/sh
echo "$@" >> {log}
case "$*" in *" ps "*) printf '%s' '{containers}';; esac
"""


def docker(directory: Path, monkeypatch: pytest.MonkeyPatch, containers: str = "") -> Path:
    """First on the PATH; what it was asked for is in the file."""
    program, log = directory / "docker", directory / "log"
    program.write_text(SCRIPT.format(log=log, containers=containers))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")
    return log


@pytest.mark.parametrize("with_data", [False, True])
def test_volumes_are_removed_only_with_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, with_data: bool
) -> None:
    log = docker(tmp_path, monkeypatch)
    compose.down(with_data=with_data)
    [command] = log.read_text().splitlines()
    assert " down " in command
    assert ("--volumes" in command) is with_data


@pytest.mark.parametrize(("containers", "runs"), [("", False), ("0123abcd\n", True)])
def test_a_stack_that_was_stopped_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, containers: str, *, runs: bool
) -> None:
    docker(tmp_path, monkeypatch, containers)
    assert compose.runs() is runs


def test_without_docker_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not compose.runs()


def test_unset_secrets_are_generated_randomly(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("OPENAI_API_KEY=k\nADMIN_API_KEY=\nMONGO_ROOT_PASSWORD=chosen\n")
    names = ensure_secrets(env_file, {"REDIS_ADMIN_PASSWORD": "given"})
    assert names == [
        name for name in SECRETS if name not in ("MONGO_ROOT_PASSWORD", "REDIS_ADMIN_PASSWORD")
    ]
    values = read_environment({}, env_file)
    assert values.keys() == {"OPENAI_API_KEY", "MONGO_ROOT_PASSWORD", *names}
    assert values["MONGO_ROOT_PASSWORD"] == "chosen"
    assert len({values[name] for name in names}) == len(names)
    assert all(len(values[name]) >= 32 for name in names)
    assert env_file.stat().st_mode & 0o777 == 0o600

    assert ensure_secrets(env_file, {"REDIS_ADMIN_PASSWORD": "given"}) == []
    assert read_environment({}, env_file) == values


def test_the_file_is_left_alone_where_the_environment_has_all_secrets(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    assert ensure_secrets(env_file, dict.fromkeys(SECRETS, "given")) == []
    assert not env_file.exists()


@pytest.mark.parametrize("name", PASSWORDS)
def test_a_password_that_does_not_fit_a_url_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(StackError, match=rf"^{name} may have letters, digits") as refusal:
        ensure_secrets(tmp_path / ".env", {name: "p@ss/word"})
    assert "p@ss" not in str(refusal.value)
    assert not (tmp_path / ".env").exists()
