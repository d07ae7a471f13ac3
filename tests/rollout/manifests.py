"""What rendered manifests say of rollouts: replicas, surge, probes, preStop, grace, settings."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

_ROOT = Path(__file__).resolve().parents[2]
_KUBECTL = Path(sys.executable).with_name("kubectl")
_ANNOTATION = "nginx.ingress.kubernetes.io/"

Manifest = dict[str, Any]


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """`path` of an HTTP request to the pod, else a `command` in it. Times in seconds."""

    path: str | None
    command: tuple[str, ...]
    period_s: float
    timeout_s: float
    failures: int


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """A Deployment. `settings` are those of its config maps; its secrets are the stack's own."""

    name: str
    replicas: int
    surge: int
    unavailable: int
    pre_stop_s: float
    grace_s: float
    startup: Probe
    readiness: Probe
    liveness: Probe
    settings: dict[str, str]


def render(path: str = "deploy/k8s/base") -> list[Manifest]:
    done = subprocess.run((_KUBECTL, "kustomize", path), cwd=_ROOT, capture_output=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def workloads(manifests: list[Manifest]) -> dict[str, Workload]:
    """By name. An autoscaler's least number of replicas is that of its Deployment."""
    maps = _of_kind(manifests, "ConfigMap")
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["minReplicas"]
        for each in _of_kind(manifests, "HorizontalPodAutoscaler").values()
    }
    found = {}
    for name, deployment in _of_kind(manifests, "Deployment").items():
        spec, pod = deployment["spec"], deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        sources = [each.get("configMapRef") for each in container["envFrom"]]
        map_names = [source["name"] for source in sources if source is not None]
        rolling = spec["strategy"]["rollingUpdate"]
        found[name] = Workload(
            name=name,
            replicas=scaled.get(name, spec.get("replicas", 1)),
            surge=rolling["maxSurge"],
            unavailable=rolling["maxUnavailable"],
            pre_stop_s=_pre_stop_s(container),
            grace_s=pod["terminationGracePeriodSeconds"],
            startup=_probe(container["startupProbe"]),
            readiness=_probe(container["readinessProbe"]),
            liveness=_probe(container["livenessProbe"]),
            settings={k: v for each in map_names for k, v in maps[each]["data"].items()},
        )
    return found


def ingress_directives(manifests: list[Manifest]) -> list[str]:
    """What the Ingress asks of its controller, in nginx's own words."""
    (ingress,) = _of_kind(manifests, "Ingress").values()
    directives = []
    for key, value in ingress["metadata"]["annotations"].items():
        name = key.removeprefix(_ANNOTATION).replace("-", "_")
        if name == "proxy_body_size":
            name = "client_max_body_size"
        directives.append(f"{name} {value}{'s' if name.endswith('timeout') else ''};")
    return directives


def _of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def _pre_stop_s(container: Manifest) -> float:
    hook = container.get("lifecycle", {}).get("preStop")
    return 0.0 if hook is None else float(hook["sleep"]["seconds"])


def _probe(probe: Manifest) -> Probe:
    return Probe(
        path=probe["httpGet"]["path"] if "httpGet" in probe else None,
        command=tuple(probe["exec"]["command"]) if "exec" in probe else (),
        period_s=probe["periodSeconds"],
        timeout_s=probe["timeoutSeconds"],
        failures=probe["failureThreshold"],
    )
