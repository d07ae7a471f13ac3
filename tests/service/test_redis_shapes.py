"""The services as processes on a Redis that managed services offer: each works, or says why not."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest
from redis import Redis

from deploy.local.environment import without_settings
from tests.servers import HOST, ServerProcess, free_port, redis_server, running
from tests.support.polling import eventually_in_thread

pytestmark = pytest.mark.redis
SERVICES = ["gateway", "admin", "ledger_worker"]


def cluster_node(directory: Path) -> ServerProcess:
    # Its bus is 10,000 ports higher otherwise, where there may be none.
    bus = ("--cluster-port", str(free_port()))
    return redis_server(directory, "--cluster-enabled", "yes", *bus)


def environment(directory: Path, mongo_uri: str, redis_url: str) -> dict[str, str]:
    return {
        **without_settings(os.environ),
        "MONGO_URI": mongo_uri,
        "REDIS_URL": redis_url,
        "ADMIN_API_KEY": "a-key-that-is-long-enough-for-the-tests",
        "GATEWAY_HOST": HOST,
        "ADMIN_HOST": HOST,
        "WORKER_METRICS_PORT": "0",
        "SPOOL_DIR": str(directory / "spool"),
    }


def refusal(service: str, values: Mapping[str, str]) -> str:
    """What the start ends with; a log may come before it."""
    done = subprocess.run(
        (sys.executable, "-m", f"services.{service}"),
        env=values,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    [line] = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("service", SERVICES)
def test_a_cluster_is_refused_at_the_start(service: str, tmp_path: Path, mongo_uri: str) -> None:
    with running(cluster_node(tmp_path)) as server:
        with Redis.from_url(server.url) as node:
            node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        line = refusal(service, environment(tmp_path, mongo_uri, server.url))
    assert line.startswith(f"services.{service}: REDIS_URL names a node of a Redis Cluster")


async def test_a_cluster_that_comes_later_is_told_by_ready(tmp_path: Path, mongo_uri: str) -> None:
    for name in ("redis", "gateway"):
        (tmp_path / name).mkdir()
    server = cluster_node(tmp_path / "redis")
    port = free_port()
    values = environment(tmp_path, mongo_uri, server.url) | {"GATEWAY_PORT": str(port)}
    command = (sys.executable, "-m", "services.gateway")
    url = f"http://{HOST}:{port}"
    gateway = ServerProcess(url, command, port, tmp_path / "gateway", environment=values)

    def is_told() -> bool:
        answer = httpx2.get(f"{url}/ready", timeout=10)
        told: str = answer.json()["checks"]["redis"]
        return answer.status_code == 503 and "names a node of a Redis Cluster" in told

    with running(gateway), running(server):
        await eventually_in_thread(is_told)
