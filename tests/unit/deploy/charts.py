"""The Helm chart rendered without a cluster, and sets of values to render it with."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helm_python import Chart
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from tests.support import yaml_text

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "deploy/helm"
_SCHEMAS = "kubernetes-json-schema/v1.37.0-local-strict"
SERVICES = {"gateway": "gateway", "admin": "admin", "ledgerWorker": "ledger-worker"}
# Kinds of others, whose definitions a cluster gets with the Prometheus operator or the Gateway API.
FOREIGN = {"PodMonitor", "PrometheusRule", "HTTPRoute"}

Manifest = dict[str, Any]
Values = dict[str, Any]

# What the base cannot have, because it knows no host, and an operator's CRDs may be missing.
INGRESS: Values = {"ingress": {"enabled": True}}
MONITORING: Values = {
    "monitoring": {
        kind: {"enabled": True} for kind in ("podMonitor", "prometheusRule", "dashboard")
    }
}
EVERYTHING: Values = {
    "namePrefix": "blue-",
    "commonLabels": {"team": "platform"},
    "commonAnnotations": {"example.com/owner": "platform"},
    "image": {
        "registry": "registry.example.com",
        "tag": "1.2.3",
        "pullPolicy": "Always",
        "pullSecrets": [{"name": "registry"}],
    },
    "gateway": {
        "image": {"digest": "sha256:" + "0" * 64},
        "settings": {"MAX_BODY_BYTES": 33554432, "ALLOW_UNROUTED_MODELS": False},
        "extraEnv": [
            {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
            {
                "name": "AZURE_API_KEY",
                "valueFrom": {"secretKeyRef": {"name": "azure", "key": "key"}},
            },
        ],
        "extraEnvFrom": [{"secretRef": {"name": "more-providers", "optional": True}}],
        "extraVolumes": [{"name": "keys", "secret": {"secretName": "keys"}}],
        "extraVolumeMounts": [{"name": "keys", "mountPath": "/run/secrets", "readOnly": True}],
        "spool": {
            "volume": {
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "1Gi"}},
                        }
                    }
                }
            }
        },
        "probes": {"readiness": {"periodSeconds": 10}},
        "service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "true"}},
        "serviceAccount": {"annotations": {"example.com/role": "gateway"}},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}
                ]
            }
        },
        "priorityClassName": "high",
        "labels": {"tier": "edge"},
        "annotations": {"example.com/on-call": "platform"},
        "podLabels": {"mesh": "in"},
        "podAnnotations": {"example.com/mesh": "in"},
        "extraIngress": [{"from": [{"podSelector": {}}]}],
        "extraEgress": [{"ports": [{"port": 8443, "protocol": "TCP"}]}],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}},
            }
        ],
    },
    "admin": {"autoscaling": {"enabled": True}, "extraEgress": [{"ports": [{"port": 443}]}]},
    "ledgerWorker": {
        "autoscaling": {"enabled": False},
        "disruptionBudget": {"maxUnavailable": "50%"},
        "extraEgress": [{"ports": [{"port": 443, "protocol": "TCP"}]}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
    },
    "ingress": {"enabled": True, "tls": [{"hosts": ["a.example.com"], "secretName": "tls"}]},
    "httpRoute": {
        "enabled": True,
        "parentRefs": [{"name": "public", "namespace": "gateways"}],
        "hostnames": ["gateway.example.com"],
    },
    "networkPolicy": {"databases": {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}},
    "monitoring": {
        "scrapeAnnotations": False,
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "runbookBase": "https://example.com/blob/main/"},
        "dashboard": {"enabled": True},
    },
    "migrations": {
        "build-indexes": {"enabled": True},
        "fill-segments": {"enabled": True},
    },
}
NOTHING: Values = {
    "settings": {"LOG_LEVEL": None, "LOG_FORMAT": None},
    "networkPolicy": {"enabled": False},
    **{
        service: {
            "settings": {},
            "secrets": [],
            "extraEnvFrom": [{"secretRef": {"name": "all"}}],
            "autoscaling": {"enabled": False},
            "disruptionBudget": {"enabled": False},
            "serviceAccount": {"create": False},
            "topologySpread": False,
        }
        for service in SERVICES
    },
}
SETS = {
    "defaults": {},
    "ingress": INGRESS,
    "monitoring": MONITORING,
    "everything": EVERYTHING,
    "nothing": NOTHING,
}


def rendered(chart: Chart, values: Values, name: str = "litellm-gateway") -> list[Manifest]:
    """Not to be changed: several tests look at what the same values make."""
    return _rendered(chart, json.dumps(values), name)


@functools.cache
def _rendered(chart: Chart, values: str, name: str) -> list[Manifest]:
    files = chart.render(values=json.loads(values), name=name, namespace="llm")
    texts = (text for path, text in files.items() if path.endswith(".yaml"))
    return [each for text in texts for each in yaml_text.read_all(text)]


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Items of a list under their name, where they have one."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}/{key}")
    elif isinstance(value, list) and value:
        for place, inner in enumerate(value):
            name = inner.get("name", place) if isinstance(inner, dict) else place
            yield from leaves(inner, f"{path}/{name}")
    else:
        yield path, value


def flat(manifests: list[Manifest]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for each in manifests:
        fields |= leaves(each, f"{each['kind']}/{each['metadata']['name']}")
    return fields


def validate(manifests: list[Manifest]) -> None:
    """By Kubernetes' own schemas, without unknown fields."""
    for each in manifests:
        if each["kind"] not in FOREIGN:
            _validate(json.dumps(each, sort_keys=True))


@functools.cache
def _validate(manifest: str) -> None:
    """Most objects are the same in several sets of values, and each takes a moment."""
    document = json.loads(manifest)
    # The group is named without its domain: rbac.authorization.k8s.io/v1 is rbac-v1.
    group, _, version = document["apiVersion"].rpartition("/")
    name = "-".join(filter(None, (document["kind"].lower(), group.partition(".")[0], version)))
    schema = _schema(name)
    registry = Resource.from_contents(schema) @ _definitions()
    Draft202012Validator(schema, registry=registry).validate(document)


@functools.cache
def _definitions() -> Registry[Any]:
    return Resource.from_contents(_schema("_definitions")) @ Registry()


@functools.cache
def _schema(name: str) -> Any:
    """Read once: `kubernetes_validate` itself reads all definitions again for each object."""
    return schema_contents(f"{_SCHEMAS}/{name}.json", "1.37")
