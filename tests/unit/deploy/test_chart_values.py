"""The chart's values: what they are checked for, and what a change of one changes."""

import re
from typing import Any, cast

import pytest
from helm_python import Chart, HelmError

from tests.support import yaml_text
from tests.unit.deploy.charts import (
    EVERYTHING,
    INGRESS,
    ROOT,
    SERVICES,
    Values,
    leaves,
    of_kind,
    rendered,
)


def test_each_value_is_in_the_schema_and_each_of_the_schemas_has_a_default(chart: Chart) -> None:
    schema = cast("dict[str, Any]", chart.schema)
    definitions = schema["definitions"]

    def properties(node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in node:
            return properties(definitions[node["$ref"].rpartition("/")[2]])
        fields: dict[str, Any] = dict(node.get("properties", {}))
        for part in node.get("allOf", []):
            fields |= properties(part)
        return fields

    def compare(node: dict[str, Any], values: Values, path: str) -> None:
        known = {name: value for name, value in properties(node).items() if value is not False}
        if not known:
            return
        assert known.keys() - {"global", "backendRequest"} == values.keys(), path
        for name, value in values.items():
            if isinstance(value, dict):
                compare(known[name], value, f"{path}.{name}")

    values = chart.values
    for service in SERVICES:
        values[service].pop("probes")  # none is changed
    schema["definitions"]["workload"]["properties"].pop("probes")
    compare(schema, values, "")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"gatway": {}}, "gatway"),
        ({"gateway": {"replica": 3}}, "replica"),
        ({"gateway": {"autoscaling": {"max": 3}}}, "max"),
        ({"gateway": {"replicas": "3"}}, "replicas"),
        ({"admin": {"spool": {"emptyDir": {}}}}, "spool"),
        ({"ledgerWorker": {"service": {"type": "ClusterIP"}}}, "service"),
        ({"gateway": {"spool": {"sizeLimit": "1GB"}}}, "sizeLimit"),
        ({"gateway": {"extraEnv": [{"value": "x"}]}}, "name"),
        ({"gateway": {"image": {"digest": "latest"}}}, "digest"),
        ({"httpRoute": {"enabled": True}}, "parentRefs"),
        ({"networkPolicy": {"operators": []}}, "operators"),
        ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "app.kubernetes.io/name"),
        ({"migrations": {"fill-segments": {"hooks": ["pre-install"]}}}, "hooks"),
        ({"migrations": {"fill-segment": {"enabled": True}}}, "fill-segment"),
        ({"monitoring": {"prometheusRule": {"runbookBase": "docs"}}}, "runbookBase"),
        ({"settings": {"log_level": "info"}}, "log_level"),
    ],
)
def test_a_wrong_value_is_refused_by_name(chart: Chart, values: Values, says: str) -> None:
    with pytest.raises(HelmError, match=re.escape(says)):
        rendered(chart, values)


def secret_variables() -> set[str]:
    """Those of .env.example that hold a secret."""
    names = re.findall(r"^([A-Z_0-9]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    return {
        n for n in names if re.search(r"KEY|SECRET|PASSWORD|MONGO_URI|REDIS_URL|OTLP_HEADERS", n)
    } - {
        "TRUSTED_PROXY_SECRET_HEADER",
        "ALERT_KEY_DAYS",
        "SECRETS_DIR",
    }


def test_no_secret_gets_into_a_config_map(chart: Chart) -> None:
    names = sorted(secret_variables())
    assert len(names) > 20
    settings = dict.fromkeys(names, "x")
    for values in ({"settings": settings}, {"gateway": {"settings": settings}}):
        with pytest.raises(HelmError) as refused:
            chart.validate_schema(values)
        assert [name for name in names if f"'{name}'" not in str(refused.value)] == []
    variables = [{"name": name, "value": "x"} for name in names]
    with pytest.raises(HelmError) as refused:
        chart.validate_schema({"admin": {"extraEnv": variables}})
    for place in range(len(names)):
        assert f"/admin/extraEnv/{place}/name" in str(refused.value)
    others = ("TRUSTED_PROXY_SECRET_HEADER", "ALERT_KEY_DAYS", "SECRETS_DIR")
    chart.validate_schema({"settings": dict.fromkeys(others, "x")})
    assert of_kind(rendered(chart, EVERYTHING), "Secret") == {}


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        ({"gateway": {"settings": {"SHUTDOWN_GRACE_S": 79}}}, True),
        ({"gateway": {"settings": {"SHUTDOWN_GRACE_S": 80}}}, False),
        ({"gateway": {"settings": {"SHUTDOWN_GRACE_S": "180"}}}, False),
        ({"gateway": {"preStopSeconds": 30}}, False),
        ({"gateway": {"settings": {"SHUTDOWN_GRACE_S": 0}, "preStopSeconds": 30}}, True),
        ({"admin": {"terminationGracePeriodSeconds": 35}}, False),
        ({"admin": {"terminationGracePeriodSeconds": 36}}, True),
        ({"settings": {"SHUTDOWN_GRACE_S": 60}}, False),
        ({"ledgerWorker": {"terminationGracePeriodSeconds": 25}}, False),
        ({"ledgerWorker": {"settings": {"WORKER_GRACE_S": 60}}}, False),
    ],
)
def test_a_pod_is_not_killed_before_its_grace_ends(
    chart: Chart, values: Values, fits: bool
) -> None:
    if fits:
        assert rendered(chart, values)
    else:
        with pytest.raises(HelmError, match="would be killed before it has finished"):
            rendered(chart, values)


def test_a_large_number_stays_a_number(chart: Chart) -> None:
    data = of_kind(rendered(chart, {}), "ConfigMap")["gateway-settings"]["data"]
    assert data["SPOOL_MAX_BYTES"] == "805306368"
    values = {"gateway": {"settings": {"A": 10**12, "B": 0.25, "C": True, "D": "1e9"}}}
    data = of_kind(rendered(chart, values), "ConfigMap")["gateway-settings"]["data"]
    assert [data[name] for name in "ABCD"] == [str(10**12), "0.25", "true", "1e9"]


def test_a_changed_setting_rolls_its_pods_and_no_others(chart: Chart) -> None:
    def sums(values: Values) -> dict[str, str]:
        deployments = of_kind(rendered(chart, values), "Deployment")
        return {
            name: each["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
            for name, each in deployments.items()
        }

    before = sums({})
    for values, rolled in (
        ({"gateway": {"settings": {"CACHE_TTL_S": 5}}}, {"gateway"}),
        ({"settings": {"LOG_LEVEL": "debug"}}, set(SERVICES.values())),
        ({"gateway": {"replicas": 5}}, set()),
    ):
        after = sums(values)
        assert {name for name in before if before[name] != after[name]} == rolled


def test_two_releases_share_a_namespace(chart: Chart) -> None:
    one = rendered(chart, {"namePrefix": "a-"} | INGRESS, name="a")
    two = rendered(chart, {"namePrefix": "b-"} | INGRESS, name="b")
    assert {m["metadata"]["name"] for m in one}.isdisjoint(m["metadata"]["name"] for m in two)
    admin = of_kind(one, "ConfigMap")["a-admin-settings"]["data"]
    assert admin["GATEWAY_URL"] == "http://a-gateway:8000"
    # Nothing of one selects pods of the other, or refers to it.
    assert not re.search(r"\bb-|instance: b\b", yaml_text.written(one))
    for each in one:
        for path, value in leaves(each, each["kind"]):
            if path.endswith("/app.kubernetes.io/instance"):
                assert value == "a"
    own = {"admin": {"settings": {"GATEWAY_URL": "http://other:8000"}}, "namePrefix": "a-"}
    admin = of_kind(rendered(chart, own), "ConfigMap")["a-admin-settings"]["data"]
    assert admin["GATEWAY_URL"] == "http://other:8000"


@pytest.mark.parametrize(
    ("name", "service", "hook"),
    [("build-indexes", "admin", "pre-upgrade"), ("fill-segments", "ledger-worker", "post-upgrade")],
)
def test_a_migration_is_a_job_of_its_service(
    chart: Chart, name: str, service: str, hook: str
) -> None:
    manifests = rendered(chart, {"migrations": {name: {"enabled": True}}})
    jobs = of_kind(manifests, "Job")
    assert jobs.keys() == {name}
    template = jobs[name]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    deployment = of_kind(manifests, "Deployment")[service]
    (of_service,) = deployment["spec"]["template"]["spec"]["containers"]
    for field in ("image", "envFrom", "resources", "securityContext"):
        assert container[field] == of_service[field], field
    assert container["command"][-1] == f"--{name}"
    assert jobs[name]["metadata"]["annotations"]["helm.sh/hook"] == hook
    # The service's budget and replica set must not take it for one of theirs.
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= template["metadata"]["labels"].items()
    # It may reach the databases.
    policy = of_kind(manifests, "NetworkPolicy")["allow-databases"]["spec"]["podSelector"]
    assert policy["matchLabels"].items() <= template["metadata"]["labels"].items()
