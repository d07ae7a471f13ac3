"""What schemas cannot say about the manifests."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from deploy.local.compose import STAND_IN_URL
from services.admin.settings import GATEWAY_URL
from services.admin.settings import Settings as AdminSettings
from services.ledger_worker.settings import Settings as WorkerSettings

ROOT = Path(__file__).resolve().parents[3]
SERVICES = {"gateway", "admin", "ledger-worker"}


@pytest.fixture(params=["dev", "prod"], scope="module")
def manifests(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    kubectl = Path(sys.executable).with_name("kubectl")
    overlay = f"deploy/k8s/overlays/{request.param}"
    done = subprocess.run(
        (kubectl, "kustomize", overlay), cwd=ROOT, capture_output=True, check=True
    )
    return list(yaml.safe_load_all(done.stdout))


def of_kind(manifests: list[dict[str, Any]], *kinds: str) -> dict[str, dict[str, Any]]:
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] in kinds}


def pods(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = of_kind(manifests, "Deployment", "StatefulSet")
    return {name: workload["spec"]["template"]["spec"] for name, workload in found.items()}


def test_every_container_is_confined(manifests: list[dict[str, Any]]) -> None:
    for name, pod in pods(manifests).items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name


def test_service_names_do_not_become_settings(manifests: list[dict[str, Any]]) -> None:
    # A Service called `gateway` would otherwise set GATEWAY_PORT=tcp://… in every pod.
    for name, pod in pods(manifests).items():
        assert pod["enableServiceLinks"] is False, name


def test_each_service_has_all_its_parts(manifests: list[dict[str, Any]]) -> None:
    assert of_kind(manifests, "Deployment").keys() >= SERVICES
    assert of_kind(manifests, "PodDisruptionBudget").keys() == SERVICES
    assert of_kind(manifests, "ServiceAccount").keys() == SERVICES
    assert of_kind(manifests, "HorizontalPodAutoscaler").keys() == {"gateway", "ledger-worker"}
    for name in SERVICES:
        container = pods(manifests)[name]["containers"][0]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), name


def test_only_the_gateway_is_exposed(manifests: list[dict[str, Any]]) -> None:
    for ingress in of_kind(manifests, "Ingress").values():
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                assert path["backend"]["service"]["name"] == "gateway"
                assert path["path"] in ("/v1", "/health")
    for service in of_kind(manifests, "Service").values():
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP"


def test_a_gateway_has_time_to_finish_its_streams(manifests: list[dict[str, Any]]) -> None:
    pod = pods(manifests)["gateway"]
    settings = {
        name: value
        for config in of_kind(manifests, "ConfigMap").values()
        for name, value in config["data"].items()
    }
    sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = sleep + int(settings["SHUTDOWN_GRACE_S"])
    assert pod["terminationGracePeriodSeconds"] > needed


def test_only_the_admin_service_knows_the_admin_key(manifests: list[dict[str, Any]]) -> None:
    def secrets(name: str) -> set[str]:
        sources = pods(manifests)[name]["containers"][0]["envFrom"]
        names = (source["secretRef"]["name"] for source in sources if "secretRef" in source)
        return {name.partition("-")[0] for name in names}

    assert secrets("admin") == {"databases", "admin"}
    assert secrets("gateway") == {"databases", "providers"}
    assert secrets("ledger-worker") == {"databases"}


def test_traffic_is_denied_by_default(manifests: list[dict[str, Any]]) -> None:
    policy = of_kind(manifests, "NetworkPolicy")["default-deny"]["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_databases_and_sentinels_are_reached(manifests: list[dict[str, Any]]) -> None:
    [rule] = of_kind(manifests, "NetworkPolicy")["allow-databases"]["spec"]["egress"]
    assert {port["port"] for port in rule["ports"]} == {27017, 6379, 26379}


def test_the_admin_service_reaches_the_gateway_for_its_tests(
    manifests: list[dict[str, Any]],
) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    label = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "admin"}}}
    assert label in policies["gateway"]["spec"]["ingress"][0]["from"]
    (egress,) = policies["admin"]["spec"]["egress"]
    assert egress["to"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}}}]
    assert GATEWAY_URL == "http://gateway:8000"
    service = of_kind(manifests, "Service")["gateway"]["spec"]
    assert [port["port"] for port in service["ports"]] == [8000] == [egress["ports"][0]["port"]]


@pytest.mark.parametrize(
    ("service", "settings", "its_own"),
    [
        (
            "ledger_worker",
            WorkerSettings,
            {"WORKER_NAME", "WORKER_GRACE_S", "WORKER_METRICS_HOST", "WORKER_METRICS_PORT"},
        ),
        ("admin", AdminSettings, {"ADMIN_HOST", "ADMIN_PORT", "SHUTDOWN_GRACE_S"}),
    ],
)
def test_under_compose_a_service_is_told_what_the_environment_says(
    service: str, settings: type[msgspec.Struct], its_own: set[str]
) -> None:
    """The gateway reads all of `.env`; the others get their variables, and no provider's key."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    read = {field.name.upper() for field in msgspec.structs.fields(settings)}
    told = set(compose["services"][service]["environment"])
    assert told == read - its_own - {"PRICE_MAP_PATH"}


def test_compose_agrees_with_the_command_that_starts_it() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert STAND_IN_URL == "http://provider:9000"
    assert compose["services"]["provider"]["profiles"] == ["stand-in"]
    ports = compose["services"]["admin"]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert {"mongo", "redis"}.isdisjoint(
        name for name, service in compose["services"].items() if "ports" in service
    )
