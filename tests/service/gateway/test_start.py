"""`python -m services.gateway` as a process: what it refuses, at its start and of its clients."""

import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from deploy.local.environment import without_settings
from tests.servers import HOST, ServerProcess, free_port, running

URIS = {"MONGO_URI": "mongodb://127.0.0.1:1/gateway", "REDIS_URL": "redis://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MONGO_URI", "mongodb://user:hu/sh@host"),
        ("PRICE_MAP_PATH", "/nowhere/map.json"),
        ("SPOOL_DIR", "/dev/null/spool"),
    ],
)
def test_an_invalid_setting_is_one_line_that_names_it(
    tmp_path: Path, variable: str, value: str
) -> None:
    completed = subprocess.run(
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
    assert completed.returncode == 1, completed.stdout
    assert completed.stdout == ""
    [line] = completed.stderr.splitlines()
    assert variable in line
    assert "hush" not in line
    assert "sh@" not in line


def test_non_calls_are_refused_by_the_process(tmp_path: Path) -> None:
    """Its databases are away, and nothing of this needs them."""
    port = free_port()
    environment = {
        **URIS,
        "GATEWAY_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "SPOOL_DIR": str(tmp_path / "spool"),
        "CORS_ALLOW_ORIGINS": "https://app.example.com",
    }
    variables = [f"{name}={value}" for name, value in environment.items()]
    command = ["env", *variables, sys.executable, "-m", "services.gateway"]
    origin = {"origin": "https://app.example.com"}
    upgrade = {"connection": "upgrade", "upgrade": "websocket"}
    url = f"http://{HOST}:{port}"
    with (
        running(ServerProcess(url, command, port, tmp_path)),
        httpx2.Client(base_url=url) as client,
    ):
        many = client.get("/v1/models", headers={f"x-{n}": "1" for n in range(200)})
        assert many.status_code == 431
        assert many.json()["error"]["code"] == "request_head_too_large"
        assert client.get("/v1/responses", headers=upgrade).status_code == 426
        assert client.post("/chat/completions/").status_code == 401
        live = client.get("/health", headers=origin)
        assert (live.status_code, live.headers["access-control-allow-origin"]) == (
            200,
            origin["origin"],
        )
