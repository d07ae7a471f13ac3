"""The Dockerfile keeps to what Buildah 1.28 knows, and asks for no image but its base."""

import re
from pathlib import Path

from libs.common.version import VERSION

TEXT = (Path(__file__).resolve().parents[3] / "Dockerfile").read_text()
# A line that ends in a backslash goes on.
INSTRUCTIONS = [
    line for line in TEXT.replace("\\\n", " ").splitlines() if line and not line.startswith("#")
]
FLAGS = {
    "HEALTHCHECK": {"--interval", "--timeout", "--start-period", "--retries"},
    "COPY": {"--from"},
    "RUN": set[str](),
}


def test_only_flags_of_older_builders_are_used() -> None:
    for instruction in INSTRUCTIONS:
        word, _, rest = instruction.partition(" ")
        own = re.match(r"(?:--[a-z-]+(?:=\S+)?\s+)*", rest)
        assert own is not None
        flags = set(re.findall(r"--[a-z-]+", own[0]))
        assert flags <= FLAGS.get(word, set()), instruction
        assert "<<" not in instruction, instruction


def test_no_syntax_image_is_fetched() -> None:
    """Such a line names an image that BuildKit loads and runs, pinned or not."""
    assert not re.search(r"^#\s*syntax\s*=", TEXT, re.MULTILINE)


def test_every_stage_comes_from_the_base() -> None:
    stages = {"${BASE}"}
    for instruction in INSTRUCTIONS:
        if instruction.startswith("FROM "):
            _, base, _, name = instruction.split()
            assert base in stages
            stages.add(name)
        elif source := re.search(r"--from=(\S+)", instruction):
            assert source[1] in stages


def test_every_image_runs_as_a_user_of_its_own() -> None:
    last_stages = TEXT.split("FROM runtime AS ")[1:]
    assert len(last_stages) == 4
    for stage in last_stages:
        assert "\nUSER 10001:10001\n" in stage, stage


def test_every_image_is_labelled() -> None:
    assert re.findall(r"^ARG VERSION=(.+)$", TEXT, re.MULTILINE) == [VERSION]
    runtime, *last_stages = TEXT.split("FROM runtime AS ")
    for label in ("vendor", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in runtime
    for stage in last_stages:
        for label in ("title", "description"):
            assert f"org.opencontainers.image.{label}=" in stage


def test_pip_stays_in_the_builder() -> None:
    assert "--without-pip /venv" in TEXT
    words = {word for line in INSTRUCTIONS if line.startswith("RUN ") for word in line.split()}
    assert {word for word in words if word.endswith("pip")} == {"/tools/bin/pip", "--without-pip"}
