from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import FailedAttempt, ModelRun, TokenUsage
from services.ledger_worker.call_metrics import MAX_ROUTED, MAX_UNROUTED, CallMetrics
from tests.unit.builders import entry

_LABELS = {"provider": "openai", "model": "gpt-4o", "deployment": "east"}
_GEN_AI = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "openai",
    "gen_ai_request_model": "gpt-4o",
    "deployment": "east",
}


class Counts:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = CallMetrics(self.registry)

    def count(self, *entries: LedgerEntry) -> None:
        self.metrics.count(entries)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def series(self, name: str) -> set[tuple[str, ...]]:
        """The labels of the metric's samples with this name."""
        metrics = self.registry.restricted_registry([name]).collect()
        samples = [each for metric in metrics for each in metric.samples]
        return {tuple(each.labels.values()) for each in samples}


@pytest.fixture
def counts() -> Counts:
    return Counts()


def call(**fields: Any) -> LedgerEntry:
    defaults: dict[str, Any] = {"deployment": "east", "attempts": 1}
    return entry(**(defaults | fields))


def failed(deployment: str) -> FailedAttempt:
    return FailedAttempt(deployment=deployment, provider="openai", model="gpt-4o", elapsed_ms=5)


def test_counts_what_a_call_used_and_cost(counts: Counts) -> None:
    runs = (ModelRun(role="advisor", input_text=5, output_text=1),)
    usage = TokenUsage(input_text=10, cache_read=30, output_text=7, reasoning=2, runs=runs)
    counts.count(
        call(
            usage=usage,
            cost_nusd=1_500_000_000,
            latency_ms=2_500,
            first_byte_ms=400,
            stream=True,
            overhead_ms=0.3,
        )
    )

    def tokens(token_class: str) -> float | None:
        return counts.value("ledger_tokens_total", **_LABELS, token_class=token_class)

    assert counts.value("ledger_calls_total", **_LABELS, end="ok") == 1
    assert counts.value("ledger_cost_usd_total", **_LABELS) == 1.5
    assert (tokens("input_text"), tokens("cache_read")) == (15, 30)
    assert (tokens("output_text"), tokens("reasoning")) == (8, 2)
    usage_sum = "gen_ai_client_token_usage_sum"
    assert counts.value(usage_sum, **_GEN_AI, gen_ai_token_type="input") == 45
    assert counts.value(usage_sum, **_GEN_AI, gen_ai_token_type="output") == 10
    assert counts.value("gen_ai_client_operation_duration_seconds_sum", **_GEN_AI) == 2.5
    first = "gen_ai_client_operation_time_to_first_chunk_seconds_sum"
    assert counts.value(first, **_GEN_AI) == 0.4
    overhead = counts.value("ledger_call_overhead_seconds_sum", path="relayed")
    assert overhead == pytest.approx(0.0003)


def test_whole_answers_have_no_first_chunk(counts: Counts) -> None:
    counts.count(call(latency_ms=900, first_byte_ms=900))
    first = "gen_ai_client_operation_time_to_first_chunk_seconds_count"
    assert counts.value(first, **_GEN_AI) == 0
    assert counts.value("gen_ai_client_operation_duration_seconds_count", **_GEN_AI) == 1


def test_counts_attempts_and_who_answered_instead(counts: Counts) -> None:
    counts.count(
        call(deployment="west", attempts=2, failed_attempts=(failed("east"),)),
        call(attempts=2, failed_attempts=(failed("east"),)),
        call(attempts=1, failed_attempts=(failed("east"),), status="upstream_error"),
    )
    west = _LABELS | {"deployment": "west"}
    assert counts.value("ledger_attempts_total", **_LABELS, end="failed") == 3
    assert counts.value("ledger_attempts_total", **_LABELS, end="answered") == 1
    assert counts.value("ledger_attempts_total", **west, end="answered") == 1
    # The second call's retry was answered by the deployment that had failed.
    assert counts.value("ledger_fallbacks_total", **west) == 1
    assert counts.value("ledger_fallbacks_total", **_LABELS) is None


def test_refused_calls_took_no_time_of_a_model(counts: Counts) -> None:
    refused = {"status": "refused", "attempts": 0, "latency_ms": 3, "cost_nusd": 0}
    counts.count(call(provider=None, model=None, deployment=None, price_id=None, **refused))
    assert counts.series("ledger_calls_total") == {("none", "none", "none", "refused")}
    assert counts.series("gen_ai_client_operation_duration_seconds_count") == set()


def test_late_events_count_as_calls_and_corrections_do_not(counts: Counts) -> None:
    counts.count(call(kind="refund", status="correction", cost_nusd=-5))
    assert counts.series("ledger_calls_total") == set()
    counts.count(call(kind="late_event"))
    assert counts.value("ledger_calls_total", **_LABELS, end="ok") == 1


def test_a_client_cannot_name_a_series(counts: Counts) -> None:
    made_up = {"model": "made-up", "deployment": "openai/made-up", "price_id": None}
    attempt = FailedAttempt(
        deployment="openai/made-up", provider="openai", model="made-up", elapsed_ms=1
    )
    counts.count(call(**made_up, requested_model="openai/made-up", failed_attempts=(attempt,)))
    other = ("other", "other", "other")
    assert counts.series("ledger_calls_total") == {(*other, "ok")}
    assert counts.series("ledger_attempts_total") == {(*other, "failed")}


def test_no_account_key_tag_or_asked_name_is_a_label(counts: Counts) -> None:
    secrets = {"user_id": "u-1", "key_id": "k-1", "tags": ("t-1",), "requested_model": "r-1"}
    counts.count(call(**secrets, client_user="c-1", usage=TokenUsage(input_text=1)))
    values = {
        value
        for metric in counts.registry.collect()
        for sample in metric.samples
        for value in sample.labels.values()
    }
    assert values & {"u-1", "k-1", "t-1", "r-1", "c-1"} == set()


def test_series_are_bounded(counts: Counts) -> None:
    usage = TokenUsage(input_text=1, output_text=1)
    more = 50
    for number in range(MAX_UNROUTED + more):
        name = f"m-{number}"
        counts.count(call(model=name, deployment=f"openai/{name}", usage=usage, latency_ms=1))
    # However many calls there are without a route, a route's deployment has its own series.
    for number in range(MAX_ROUTED + more):
        counts.count(call(deployment=f"d-{number}", usage=usage, latency_ms=1))
    for name in (
        "ledger_calls_total",
        "ledger_cost_usd_total",
        "gen_ai_client_operation_duration_seconds_count",
    ):
        assert len(counts.series(name)) == MAX_ROUTED + MAX_UNROUTED + 1, name
    other = dict.fromkeys(("provider", "model", "deployment"), "other")
    assert counts.value("ledger_calls_total", **other, end="ok") == 2 * more
