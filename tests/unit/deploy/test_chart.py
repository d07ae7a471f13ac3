"""The Helm chart says what the kustomize base says, and Kubernetes takes what it says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import helm_python
import pytest
from helm_python import Chart

from libs.common.version import VERSION
from tests.support import yaml_text
from tests.unit.deploy.charts import (
    CHART,
    EVERYTHING,
    INGRESS,
    MONITORING,
    ROOT,
    SERVICES,
    SETS,
    Manifest,
    Values,
    flat,
    leaves,
    of_kind,
    rendered,
    validate,
)

# Where the chart differs from the base, and why. Paths are kind/name/field/…, as in `leaves`.
INTENDED = {
    r"[^/]+/[^/]+/metadata/namespace": "an overlay sets it; Helm takes it from the command line",
    r".*/labels/(helm\.sh/chart|app\.kubernetes\.io/(instance|managed-by|version))": (
        "Helm's own: they tell whose release an object is"
    ),
    r"Service/[^/]+/spec/type": "a value, whose default is Kubernetes' own",
    r".*/(matchLabels|selector)/app\.kubernetes\.io/instance": (
        "two releases may share a namespace, and others' pods, too"
    ),
    r"NetworkPolicy/(default-deny|allow-dns)/spec/podSelector": (
        "the base has its namespace to itself"
    ),
    r"Deployment/[^/]+/spec/template/metadata/annotations/checksum/settings": (
        "kustomize names a ConfigMap after what is in it; here this annotation rolls the pods"
    ),
    r"Deployment/[^/]+/spec/template/spec/containers/[^/]+/image": (
        "an overlay sets the tag; here it is the chart's appVersion"
    ),
    r"(Service|PodDisruptionBudget|HorizontalPodAutoscaler|Ingress|NetworkPolicy|ConfigMap"
    r"|ServiceAccount)/[^/]+/metadata/labels/app\.kubernetes\.io/name": (
        "every object says what it belongs to; the base labels what something selects"
    ),
}


def kustomized() -> list[Manifest]:
    """The base, and the component that an overlay may add."""
    kubectl = Path(sys.executable).with_name("kubectl")
    manifests: list[Manifest] = []
    for directory in ("base", "components/monitoring"):
        command = (kubectl, "kustomize", f"deploy/k8s/{directory}")
        result = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        # kustomize adds a hash to the names of ConfigMaps; the annotation in INTENDED is for that.
        plain = re.sub(r"\b((?:gateway-)?settings)-[a-z0-9]{10}\b", r"\1", result.stdout.decode())
        manifests += yaml_text.read_all(plain)
    return manifests


def differences(chart: list[Manifest], others: list[Manifest]) -> set[str]:
    ours, theirs = flat(chart), flat(others)
    missing = object()
    return {
        path
        for path in ours.keys() | theirs.keys()
        if ours.get(path, missing) != theirs.get(path, missing)
    }


def test_the_chart_says_what_kustomize_says(chart: Chart) -> None:
    changed = differences(rendered(chart, INGRESS | MONITORING), kustomized())
    intended = {pattern: {p for p in changed if re.fullmatch(pattern, p)} for pattern in INTENDED}
    assert changed - set[str]().union(*intended.values()) == set()
    assert [pattern for pattern, paths in intended.items() if not paths] == []


def test_by_default_no_ingress_is_made_for_a_host_that_is_nobodys(chart: Chart) -> None:
    default, ingress = rendered(chart, {}), rendered(chart, INGRESS)
    assert {path.split("/")[0] for path in differences(ingress, default)} == {"Ingress"}


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_kubernetes_takes_every_object(chart: Chart, values: Values) -> None:
    manifests = rendered(chart, values)
    validate(manifests)
    keys = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(set(keys)) == len(keys) >= 3


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_helm_finds_nothing_to_say(values: Values) -> None:
    report = helm_python.lint(CHART, values, strict=True, kube_version="v1.37.0")
    messages = [message for message in report["messages"] if "icon is" not in message["error"]]
    assert (messages, report["errors"]) == ([], [])


def test_every_value_appears_in_the_manifests(chart: Chart) -> None:
    """A value that no template reads would be refused by nobody."""
    text = yaml_text.written(rendered(chart, EVERYTHING))
    words = {str(value) for _, value in leaves(EVERYTHING, "") if value and value is not True}
    assert {word for word in words if word not in text} == set()


def test_rules_and_dashboard_are_the_files(chart: Chart) -> None:
    manifests = rendered(chart, MONITORING)
    plain = yaml_text.read((ROOT / "deploy/prometheus/alerts.yml").read_text())
    assert of_kind(manifests, "PrometheusRule")["litellm-gateway"]["spec"] == plain
    (dashboard,) = of_kind(manifests, "ConfigMap")["dashboard"]["data"].values()
    file_text = (ROOT / "deploy/grafana/litellm-gateway.json").read_text()
    assert json.loads(dashboard) == json.loads(file_text)


def test_every_service_is_scraped_under_its_name(chart: Chart) -> None:
    manifests = rendered(chart, {"monitoring": {"podMonitor": {"enabled": True}}})
    monitor = of_kind(manifests, "PodMonitor")["litellm-gateway"]["spec"]
    ports = {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]}
    for name, deployment in of_kind(manifests, "Deployment").items():
        template = deployment["spec"]["template"]
        labels = template["metadata"]["labels"]
        assert monitor["selector"]["matchLabels"].items() <= labels.items()
        assert labels[monitor["jobLabel"]] == name
        (container,) = template["spec"]["containers"]
        assert [port["name"] in ports for port in container["ports"]] == [True]


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_the_notes_say_what_comes_next(chart: Chart, values: Values) -> None:
    files = chart.render(values=values, name="litellm-gateway", namespace="llm")
    (notes,) = (text for path, text in files.items() if path.endswith("NOTES.txt"))
    assert "kubectl -n llm get secret ledger-worker-databases" in notes
    assert ("No client outside" in notes) == (not values)
    assert ("https://gateway.example.com/v1" in notes) == bool(values)
    assert "{{" not in notes


def test_the_guide_is_walked(chart: Chart) -> None:
    guide = (ROOT / "docs/kubernetes.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    manifests = rendered(chart, yaml_text.read(block))
    validate(manifests)
    named = {value for path, value in flat(manifests).items() if path.endswith("/secretRef/name")}
    script = guide.partition("## 3. Secrets")[2].partition("## 4.")[0]
    created = set(re.findall(r"create secret generic ([a-z-]+) ", script))
    created |= {f"{service}-databases" for service in SERVICES.values()}
    assert created == named


def test_the_version_is_the_projects_and_an_archive_is_whole(chart: Chart, tmp_path: Path) -> None:
    assert (chart.version, chart.metadata["appVersion"]) == (VERSION, VERSION)
    with Chart.load(chart.save(tmp_path)) as archive:
        assert rendered(archive, EVERYTHING) == rendered(chart, EVERYTHING)
