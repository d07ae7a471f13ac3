"""The services' metrics: their names, what their labels may hold, and that they are documented."""

import platform
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from libs.common.version import VERSION
from libs.common.web import unread_responses  # noqa: F401 - its metrics are those of the process
from services.admin.metrics import Metrics as AdminMetrics
from services.gateway import metrics  # noqa: F401 - the same
from services.ledger_worker.metrics import Metrics as WorkerMetrics

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
SERVICES = ("gateway", "worker", "admin service")
# A label beyond these needs a thought about what bounds it.
BOUNDED = {
    "answer",
    "bound",
    "breaker",
    "cache",
    "cause",
    "database",
    "deployment",
    "end",
    "format",
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_token_type",
    "http_status",
    "kind",
    "method",
    "model",
    "path",
    "provider",
    "python",
    "reason",
    "result",
    "route",
    "scope",
    "status",
    "token_class",
    "version",
}
PROMTOOL = shutil.which("promtool")

Row = tuple[str, str, tuple[str, ...]]


def registry_of(service: str) -> CollectorRegistry:
    registries = {"worker": WorkerMetrics().registry, "admin service": AdminMetrics().registry}
    return registries.get(service, REGISTRY)


def metrics_of(service: str) -> list[MetricWrapperBase]:
    """Its own: stamina counts its retries in the process's registry, once it is loaded."""
    collectors = registry_of(service)._collector_to_names
    wrappers = (each for each in collectors if isinstance(each, MetricWrapperBase))
    return [each for each in wrappers if not each._name.startswith("stamina_")]


def name_of(metric: MetricWrapperBase) -> str:
    return f"{metric._name}_total" if metric._type == "counter" else str(metric._name)


def documented(service: str) -> set[Row]:
    section = OPERATIONS.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    table = section.partition(f"| of the {service} |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| .+ \|$", table, re.MULTILINE)
    return {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


@pytest.mark.parametrize("service", SERVICES)
def test_every_metric_is_documented_with_its_labels(service: str) -> None:
    exposed = {(name_of(each), each._type, each._labelnames) for each in metrics_of(service)}
    assert len(exposed) > 4
    assert documented(service) == exposed


@pytest.mark.parametrize("service", SERVICES)
def test_names_follow_the_practice(service: str) -> None:
    for metric in metrics_of(service):
        name = name_of(metric)
        assert metric._documentation.strip(), name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
        assert not re.search(r"_(ms|s|milliseconds|minutes|kb|mb|nusd|percent)(_total)?$", name), (
            f"{name} has no base unit"
        )
        assert metric._type == "counter" or not name.endswith("_total"), name
        assert set(metric._labelnames) <= BOUNDED, name


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    for prefix, service in (("gateway", "gateway"), ("ledger", "worker"), ("admin", SERVICES[2])):
        labels = {"version": VERSION, "python": platform.python_version()}
        assert registry_of(service).get_sample_value(f"{prefix}_build_info", labels) == 1


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (apt-get install prometheus)")
@pytest.mark.parametrize("service", SERVICES)
def test_promtool_finds_nothing(service: str) -> None:
    assert PROMTOOL is not None
    checked = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=generate_latest(registry_of(service)),
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
