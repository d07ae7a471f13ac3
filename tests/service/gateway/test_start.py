"""`python -m services.gateway` as a process: what it refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.environment import without_settings

URIS = {"MONGO_URI": "mongodb://127.0.0.1:1/gateway", "REDIS_URL": "redis://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MONGO_URI", ""),
        ("MONGO_URI", "http://user:hush@host"),
        ("MONGO_URI", "mongodb://user:hush@host:port"),
        ("MONGO_URI", "mongodb://user:hu/sh@host"),
        ("REDIS_URL", "http://user:hush@host"),
        ("GATEWAY_PORT", "70000"),
        ("LOG_LEVEL", "loud"),
        ("ADMISSION_WITHOUT_REDIS", "perhaps"),
        ("OPENAI_BASE_URL", "localhost:8080/v1"),
        ("ANTHROPIC_BASE_URL", "https://user:hush@host"),
        ("PRICE_MAP_PATH", "/nowhere/map.json"),
        ("SPOOL_DIR", "/dev/null/spool"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    tmp_path: Path, variable: str, value: str
) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "services.gateway"),
        env={
            **without_settings(os.environ),
            "GATEWAY_HOST": "127.0.0.1",
            "SPOOL_DIR": str(tmp_path),
            **URIS,
            variable: value,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert variable in line
    assert "hush" not in line
    assert "sh@" not in line
