"""A local stack that a real Prometheus scrapes, with the alert rules, while calls are made.

The rules are there twice: as they are, and with seconds for minutes, so that a test can wait.

`make test-dashboards` runs these tests; without PROMETHEUS, the program's path, there are none.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from deploy.grafana.dashboard import VARIABLES
from deploy.local.client import StackClient
from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack
from tests.dashboards.traffic import Traffic
from tests.servers import HOST, ServerProcess, free_port, running

collect_ignore_glob = [] if "PROMETHEUS" in os.environ else ["test_*.py"]

RULES = Path(__file__).parents[2] / "deploy/prometheus/alerts.yml"
# Four scrapes at least, as Grafana takes it.
RATE_INTERVAL = "20s"
# As the chart's PodMonitor names them, and the local stack.
JOBS = {"gateway": "gateway", "admin": "admin", "ledger-worker": "ledger_worker"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    environ = {**without_settings(os.environ), "WORKER_VERIFY_S": "2"}
    stack = LocalStack(tmp_path_factory.mktemp("stack"), environ, free_ports=True)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def prometheus(
    stack: LocalStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StackClient]:
    directory, port = tmp_path_factory.mktemp("prometheus"), free_port()
    targets = {job: stack.url(name).removeprefix("http://") for job, name in JOBS.items()}
    hasty = directory / "hasty.yml"
    hasty.write_text(in_seconds(RULES.read_text()))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES), str(hasty)],
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
        yield StackClient(server.url, "")


def in_seconds(rules: str) -> str:
    """Rates of the last seconds, and alerts that fire as soon as they are seen twice."""
    rules = re.sub(r"\[\d+[mh]\]", "[10s]", rules)
    return re.sub(r"^( +for): \d+m$", r"\1: 1s", rules, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def traffic(stack: LocalStack) -> Traffic:
    return Traffic(stack)


def answer(prometheus: StackClient, query: str) -> list[dict[str, Any]]:
    """The series; raises StackError for a query that Prometheus does not take."""
    path = f"/api/v1/query?{urlencode({'query': query})}"
    found: list[dict[str, Any]] = prometheus.expect("GET", path)["data"]["result"]
    return found


def with_everything_chosen(expression: str) -> str:
    """As Grafana asks it, where nothing was chosen of any variable."""
    for name in VARIABLES:
        expression = expression.replace(f"${name}", ".*")
    return expression.replace("$__rate_interval", RATE_INTERVAL)
