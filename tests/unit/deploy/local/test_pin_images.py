"""What `make pin-images` asks Docker, by way of a program of that name, and prints."""

from pathlib import Path

import pytest

from deploy.local.image_pins import default_images, main

NEEDS_BUILDX = (
    "needs docker with its buildx plugin; docs/operations.md says how to ask without Docker"
)
# The plugin is there.
VERSION = '[ "$2" = version ] && exit;'
DIGEST = "sha256:" + "0123456789abcdef" * 4


def docker(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Alone on the PATH; what it was asked is in the file."""
    program, log = directory / "docker", directory / "log"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))
    for name in default_images():
        monkeypatch.delenv(name, raising=False)
    return log


def test_images_are_printed_with_their_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = docker(tmp_path, monkeypatch, f"echo {DIGEST}")
    env_file = tmp_path / ".env"
    # Pinned before, by a digest that is no longer the tag's.
    env_file.write_text(f"REDIS_IMAGE=valkey/valkey:9@sha256:{'f' * 64}\n")
    assert main(env_file) == 0
    images = {**default_images(), "REDIS_IMAGE": "valkey/valkey:9"}
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{name}={image}@{DIGEST}" for name, image in images.items()]
    command = "buildx imagetools inspect --format {{.Manifest.Digest}}"
    assert log.read_text().splitlines() == [f"{command} {image}" for image in images.values()]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (f"{VERSION} echo no such host >&2; exit 1", "no such host"),
        ("echo latest", "latest"),
        ("true", "no digest"),
        ("echo unknown flag: --format >&2; exit 125", NEEDS_BUILDX),
    ],
)
def test_without_a_digest_nothing_is_printed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: str,
    reason: str,
) -> None:
    docker(tmp_path, monkeypatch, script)
    assert main(tmp_path / ".env") == 1
    output = capsys.readouterr()
    assert output.out == ""
    first = next(iter(default_images().values()))
    assert output.err == f"make pin-images: {first}: {reason}\n"


def test_docker_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(tmp_path / ".env") == 1
    assert NEEDS_BUILDX in capsys.readouterr().err
