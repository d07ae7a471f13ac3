"""What schemas cannot say about the manifests."""

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from services.admin.settings import GATEWAY_URL
from tests.support import yaml_text

ROOT = Path(__file__).resolve().parents[3]
SERVICES = {"gateway", "admin", "ledger-worker"}
# The kubelet keeps five files of 10 MiB of each container.
LOGS_MIB = 50


@pytest.fixture(params=["dev", "prod"], scope="module")
def manifests(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    kubectl = Path(sys.executable).with_name("kubectl")
    overlay = f"deploy/k8s/overlays/{request.param}"
    completed = subprocess.run(
        (kubectl, "kustomize", overlay), cwd=ROOT, capture_output=True, check=True
    )
    return yaml_text.read_all(completed.stdout)


def of_kind(manifests: list[dict[str, Any]], *kinds: str) -> dict[str, dict[str, Any]]:
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] in kinds}


def pods(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    workloads = of_kind(manifests, "Deployment", "StatefulSet")
    return {name: workload["spec"]["template"]["spec"] for name, workload in workloads.items()}


def mebibytes(quantity: str) -> int:
    factor = {"Mi": 1, "Gi": 1024}[quantity[-2:]]
    return int(quantity[:-2]) * factor


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
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            assert requests.keys() == {"cpu", "memory", "ephemeral-storage"}, name
            assert limits.keys() >= {"memory", "ephemeral-storage"}, name


def test_a_pod_has_room_for_its_volumes_and_logs(manifests: list[dict[str, Any]]) -> None:
    """What is in an emptyDir counts against the limit, beyond which the pod is evicted."""
    for name, pod in pods(manifests).items():
        (container,) = pod["containers"]
        resources = container["resources"]
        limit, request = (
            mebibytes(resources[kind]["ephemeral-storage"]) for kind in ("limits", "requests")
        )
        volumes = [v["emptyDir"] for v in pod.get("volumes", []) if "emptyDir" in v]
        assert sum(mebibytes(v["sizeLimit"]) for v in volumes) + LOGS_MIB <= limit, name
        assert request <= limit, name
    gateway = pods(manifests)["gateway"]["containers"][0]["resources"]
    # A spool must not depend on what the node's other pods leave.
    assert gateway["requests"]["ephemeral-storage"] == gateway["limits"]["ephemeral-storage"]


def test_each_service_has_database_users_of_its_own(manifests: list[dict[str, Any]]) -> None:
    secrets = of_kind(manifests, "Secret")
    logins = set()
    for name in SERVICES:
        sources = pods(manifests)[name]["containers"][0]["envFrom"]
        (secret,) = (
            source["secretRef"]["name"]
            for source in sources
            if source.get("secretRef", {}).get("name", "").startswith(f"{name}-databases")
        )
        # The prod overlay holds no secrets.
        for variable, value in secrets.get(secret, {}).get("data", {}).items():
            url = urlsplit(base64.b64decode(value).decode())
            assert url.username == name.removeprefix("ledger-"), variable
            assert url.password, variable
            logins.add((variable, url.username, url.password))
    assert len(logins) == (2 * len(SERVICES) if secrets else 0)


def test_a_development_secret_is_marked_as_such(manifests: list[dict[str, Any]]) -> None:
    for name, secret in of_kind(manifests, "Secret").items():
        for variable, encoded in secret["data"].items():
            value = base64.b64decode(encoded).decode()
            assert "placeholder" in value or value == "stand-in", (name, variable)


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


def test_a_full_spool_does_not_evict_its_pod(manifests: list[dict[str, Any]]) -> None:
    (settings,) = (
        m["data"]
        for name, m in of_kind(manifests, "ConfigMap").items()
        if name.startswith("gateway-settings")
    )
    (volume,) = (v for v in pods(manifests)["gateway"]["volumes"] if v["name"] == "spool")
    number, unit = volume["emptyDir"]["sizeLimit"][:-2], volume["emptyDir"]["sizeLimit"][-2:]
    limit = int(number) * {"Mi": 2**20, "Gi": 2**30}[unit]
    # The volume's directory and the file system's own blocks count too.
    assert int(settings["SPOOL_MAX_BYTES"]) <= 0.9 * limit


def test_only_the_admin_service_gets_the_admin_key(manifests: list[dict[str, Any]]) -> None:
    def secrets(name: str) -> set[str]:
        sources = pods(manifests)[name]["containers"][0]["envFrom"]
        names = (source["secretRef"]["name"] for source in sources if "secretRef" in source)
        # kustomize adds a hash to those that it makes.
        return {re.sub(r"-[a-z0-9]{10}$", "", name) for name in names}

    assert secrets("admin") == {"admin-databases", "admin"}
    assert secrets("gateway") == {"gateway-databases", "providers"}
    assert secrets("ledger-worker") == {"ledger-worker-databases"}


def test_traffic_is_denied_by_default(manifests: list[dict[str, Any]]) -> None:
    policy = of_kind(manifests, "NetworkPolicy")["default-deny"]["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_databases_and_sentinels_are_reachable(manifests: list[dict[str, Any]]) -> None:
    [rule] = of_kind(manifests, "NetworkPolicy")["allow-databases"]["spec"]["egress"]
    assert {port["port"] for port in rule["ports"]} == {27017, 6379, 26379}


def test_the_admin_service_can_reach_the_gateway_to_test_routes(
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
