"""Which commands Docker is given, by way of a program of that name."""

from pathlib import Path

import pytest

from deploy.local import compose

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
def test_the_volumes_go_with_the_data_alone(
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
