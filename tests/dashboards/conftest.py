"""A local stack that a real Prometheus scrapes, with the alert rules, while calls are made.

`make test-dashboards` runs these tests; without PROMETHEUS, the program's path, there are none.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from deploy.local.client import Client
from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack
from tests.dashboards.traffic import Traffic
from tests.servers import HOST, ServerProcess, free_port, running

collect_ignore_glob = [] if "PROMETHEUS" in os.environ else ["test_*.py"]

RULES = Path(__file__).parents[2] / "deploy/prometheus/alerts.yml"
# As the chart's PodMonitor names them, and the local stack.
JOBS = {"gateway": "gateway", "admin": "admin", "ledger-worker": "ledger_worker"}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    environ = {**without_settings(os.environ), "WORKER_VERIFY_S": "2"}
    stack = LocalStack(tmp_path_factory.mktemp("stack"), environ, free_ports=True)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def prometheus(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory, port = tmp_path_factory.mktemp("prometheus"), free_port()
    targets = {job: stack.url(name).removeprefix("http://") for job, name in JOBS.items()}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]}
            for job, target in targets.items()
        ],
    }
    # Which is YAML as well.
    (directory / "prometheus.yml").write_text(json.dumps(config))
    command = [
        os.environ["PROMETHEUS"],
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={HOST}:{port}",
    ]
    server = ServerProcess(f"http://{HOST}:{port}", command, port, directory)
    with running(server):
        yield Client(server.url, "")


@pytest.fixture(scope="session")
def traffic(stack: LocalStack) -> Traffic:
    return Traffic(stack)


def answer(prometheus: Client, query: str) -> list[dict[str, Any]]:
    """The series; raises StackError for a query that Prometheus does not take."""
    path = f"/api/v1/query?{urlencode({'query': query})}"
    found: list[dict[str, Any]] = prometheus.expect("GET", path)["data"]["result"]
    return found
