"""The alert rules: each one fires when it should and is silent otherwise, and names what to do.

promtool evaluates them on series that are made up; it comes with Debian's package `prometheus`.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from tests.support import yaml_text
from tests.unit.test_metrics import SERVICES, documented, registry_of

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy/prometheus/alerts.yml"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="needs promtool (apt-get install prometheus)"
)

Series = dict[str, str]
# A counter that stands still, and counters that rise by this much a second.
STILL, SLOW, FAST = "7x120", "0+6x120", "0+120x120"


class Case(NamedTuple):
    """Samples of a minute each that fire the alert, and some that do not."""

    fires: Series
    silent: Series
    labels: Mapping[str, str] = MappingProxyType({})
    at: str = "30m"


def counter(series: str, fires: str = FAST, silent: str = STILL, **labels: str) -> Case:
    return Case({series: fires}, {series: silent}, labels)


def gauge(series: str, fires: float, silent: float, **labels: str) -> Case:
    return Case({series: f"{fires}x120"}, {series: f"{silent}x120"}, labels)


def slow_histogram(name: str, bound: str, labels: str = "", **alert_labels: str) -> Case:
    """All observations lie above the bound, or all below."""
    within, above = f'{name}_bucket{{le="{bound}"{labels}}}', f'{name}_bucket{{le="640"{labels}}}'
    every = f'{name}_bucket{{le="+Inf"{labels}}}'
    return Case(
        {within: "0x120", above: FAST, every: FAST},
        {within: FAST, above: FAST, every: FAST},
        alert_labels,
    )


FAILED = "gateway_attempts_failed_total"
REFUSED = "gateway_refused_total"
CASES = {
    "LedgerDrifted": Case(
        {'ledger_verify_ok{instance="a"}': "0x120", 'ledger_verify_ok{instance="b"}': "1x120"},
        {'ledger_verify_ok{instance="a"}': "_x120", 'ledger_verify_ok{instance="b"}': "1x120"},
    ),
    "ProofLate": Case(
        {"ledger_verify_last_success_timestamp": "600x120"},
        {"ledger_verify_last_success_timestamp": "0+60x120"},
        at="90m",
    ),
    "RollUpLate": gauge("ledger_unrolled_oldest_seconds", 7201, 7199),
    "WorkerAbsent": Case({"ledger_queue_jobs": "0x9 _x110"}, {"ledger_queue_jobs": "0x120"}),
    "QueueOld": gauge("ledger_queue_oldest_seconds", 61, 59),
    "JobsRetried": counter("ledger_job_retries_total"),
    "DeadLettersStored": counter('ledger_dead_letters_total{kind="event"}'),
    "CallsUnpriced": counter("ledger_entries_unpriced_total"),
    "CallsAbandoned": counter("ledger_calls_abandoned_total"),
    "JobsMissing": counter("ledger_missing_jobs_total"),
    "EventsInMemory": gauge('gateway_events_in_memory{instance="a"}', 1, 0, instance="a"),
    "CallsNotRecorded": counter("gateway_calls_not_recorded_total"),
    "SpoolLacksRoom": gauge('gateway_spool_lacks_room{instance="a"}', 1, 0, instance="a"),
    "SpoolBacklog": gauge('gateway_spool_backlog{instance="a"}', 1, 0, instance="a"),
    "AdmittedWithoutRedis": counter("gateway_admitted_without_redis_total"),
    "RedisFull": Case(
        {"gateway_redis_full": "0x120", "ledger_redis_memory_ratio": "0.81x120"},
        {"gateway_redis_full": "0x120", "ledger_redis_memory_ratio": "0.79x120"},
    ),
    "DatabaseAway": Case(
        {
            'gateway_database_up{database="redis"}': "0x120",
            'admin_database_up{database="redis"}': "1x120",
        },
        {
            'gateway_database_up{database="redis"}': "1x120",
            'ledger_database_up{database="redis"}': "1x120",
        },
        {"database": "redis"},
    ),
    "CallsFailing": Case(
        {
            'gateway_calls_total{http_status="502",status="upstream_error"}': "0+6x120",
            'gateway_calls_total{http_status="200",status="ok"}': "0+94x120",
        },
        {
            'gateway_calls_total{http_status="502",status="upstream_error"}': "0+4x120",
            'gateway_calls_total{http_status="200",status="ok"}': "0+96x120",
        },
    ),
    "ProviderFailing": Case(
        {f'{FAILED}{{provider="p",cause="status_5xx"}}': FAST},
        {
            f'{FAILED}{{provider="p",cause="status_5xx"}}': "0+5x120",
            f'{FAILED}{{provider="p",cause="request"}}': FAST,
        },
        {"provider": "p"},
    ),
    "ProviderMisconfigured": Case(
        {f'{FAILED}{{provider="p",cause="misconfigured"}}': SLOW},
        {f'{FAILED}{{provider="p",cause="status_5xx"}}': FAST},
        {"provider": "p"},
    ),
    "ProviderSlow": slow_histogram(
        "gen_ai_client_operation_time_to_first_chunk_seconds",
        "10",
        ',gen_ai_provider_name="p"',
        gen_ai_provider_name="p",
    ),
    "OverheadHigh": slow_histogram("ledger_call_overhead_seconds", "0.05", ',path="relayed"'),
    "DeploymentsCooling": Case(
        {'gateway_deployments_cooling{scope="all"}': "1x120"},
        {'gateway_deployments_cooling{scope="account"}': "1x120"},
    ),
    "BudgetRefusals": counter(f'{REFUSED}{{reason="budget_exceeded"}}', silent=SLOW),
    "RateLimitRefusals": counter(f'{REFUSED}{{reason="rate_limit_exceeded"}}', silent=SLOW),
    "CallsUnauthenticated": counter('gateway_unauthenticated_total{format="chat"}', silent=SLOW),
    "BodiesRefused": counter('gateway_bodies_refused_total{bound="process"}'),
    "UpstreamConnectionsRefused": counter(
        'gateway_upstream_connections_refused_total{bound="account"}'
    ),
    "ResponsesUnread": counter("http_responses_unread_total", silent=SLOW),
    "BodiesLate": counter('gateway_calls_total{http_status="408"}', silent=SLOW),
    "AdminUnauthenticated": counter(
        'admin_unauthenticated_total{answer="refused"}', silent="0+1x120"
    ),
    "InvalidationsDelayed": counter('admin_invalidations_delayed_total{kind="key"}'),
    "AlertsNotDelivered": Case(
        {'ledger_alerts_total{end="failed"}': SLOW},
        {'ledger_alerts_total{end="postponed"}': SLOW},
    ),
    "RecordingsDropped": Case(
        {'gateway_recordings_total{end="full"}': SLOW},
        {'gateway_recordings_total{end="queued"}': SLOW},
    ),
    "RecordingsLost": Case(
        {'ledger_recordings_total{end="refused"}': SLOW},
        {'ledger_recordings_total{end="stored"}': SLOW},
    ),
}


@cache
def rules() -> dict[str, dict[str, Any]]:
    groups = yaml_text.read(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def rule_test(rule: dict[str, Any], series: Series, at: str, *expected: Any) -> dict[str, Any]:
    """One test of promtool's."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": at, "alertname": rule["alert"], "exp_alerts": list(expected)}
        ],
    }


def run(tmp_path: Path, tests: Mapping[str, dict[str, Any]]) -> str:
    """What promtool says is wrong, of the test of each alert.

    Each is beside its rule alone: with the file, promtool evaluates all rules for every test.
    """
    assert PROMTOOL is not None
    files = []
    for name, test in tests.items():
        alone, file = tmp_path / f"{name}.rules.yml", tmp_path / f"{name}.yml"
        alone.write_text(yaml_text.written({"groups": [{"name": name, "rules": [rules()[name]]}]}))
        file.write_text(yaml_text.written({"rule_files": [str(alone)], "tests": [test]}))
        files.append(str(file))
    completed = subprocess.run(
        [PROMTOOL, "test", "rules", *files], capture_output=True, text=True, check=False
    )
    return "" if completed.returncode == 0 else completed.stdout + completed.stderr


@needs_promtool
def test_every_alert_fires(tmp_path: Path) -> None:
    tests = {}
    for name, rule in rules().items():
        labels = {**rule["labels"], **CASES[name].labels}
        fired = {"exp_labels": labels, "exp_annotations": rule["annotations"]}
        tests[name] = rule_test(rule, CASES[name].fires, CASES[name].at, fired)
    assert run(tmp_path, tests) == ""


@needs_promtool
def test_no_alert_fires_without_need(tmp_path: Path) -> None:
    assert CASES.keys() == rules().keys()
    rule_tests = {
        name: rule_test(rule, CASES[name].silent, CASES[name].at) for name, rule in rules().items()
    }
    assert run(tmp_path, rule_tests) == ""


@needs_promtool
def test_an_alert_that_does_not_fire_is_noticed(tmp_path: Path) -> None:
    name = "SpoolLacksRoom"
    rule = rules()[name]
    never = rule_test(rule, {}, "30m", {"exp_labels": rule["labels"]})
    assert "FAILED" in run(tmp_path, {name: never})


@needs_promtool
def test_promtool_reads_the_file() -> None:
    assert PROMTOOL is not None
    subprocess.run([PROMTOOL, "check", "rules", str(RULES)], capture_output=True, check=True)


def test_every_alert_asks_for_metrics_that_exist() -> None:
    """With labels that they have."""
    known = {
        metric: (kind, labels)
        for service in SERVICES
        for metric, kind, labels in documented(service)
    }
    for name, rule in rules().items():
        matches = re.findall(
            r"\b((?:gateway|ledger|admin|http|gen_ai)_\w+)(?:\{([^}]*)\})?[\s)\[]", rule["expr"]
        )
        metrics = [(re.sub(r"_bucket$", "", metric), selector) for metric, selector in matches]
        known_metrics = [(metric, selector) for metric, selector in metrics if metric in known]
        assert known_metrics, name
        assert {metric for metric, _ in metrics} - known.keys() <= {"gen_ai_provider_name"}, name
        for metric, selector in known_metrics:
            assert set(re.findall(r"(\w+)[=!]", selector)) <= set(known[metric][1]), (name, metric)


def test_counters_of_increase_alerts_begin_at_0() -> None:
    """A series that begins with its first count has no increase."""
    begun = {
        sample.name
        for service in SERVICES
        for metric in registry_of(service).collect()
        for sample in metric.samples
    }
    increases = [re.findall(r"increase\((\w+)", rule["expr"]) for rule in rules().values()]
    counters = {metric for metrics in increases for metric in metrics}
    assert len(counters) > 5
    assert counters - begun == set()
