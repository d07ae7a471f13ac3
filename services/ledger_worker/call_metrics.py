"""Metrics of posted calls, by provider, model and deployment.

Names are those of OpenTelemetry's conventions for generative AI where these have one. Invariant:
what a client writes makes no series. The model of a call without a route is the client's word, and
is named only once it had a price; series are bounded, and what comes later counts as `other`.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Final, Literal

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram

from libs.common.domain.token_classes import total_input, total_output, used_classes
from libs.common.schemas.entry import LedgerEntry
from services.ledger_worker.gen_ai_operations import GEN_AI_OPERATIONS

# Of routes, and of calls without one: these must not use up the room of those.
MAX_ROUTED = 200
MAX_UNROUTED = 100
OTHER: Final = "other"
# Of calls that were refused before they were routed.
NONE: Final = "none"

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320, 640)
_FIRST_CHUNK_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 80)
_OVERHEAD_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1)
_TOKENS = tuple(4**power for power in range(14))
_NUSD = 1_000_000_000
# Looking up a series costs more than counting: these are kept at hand.
_CACHED_SERIES = 2_000

# No model was called, or nothing is known of how long it took.
_UNCALLED = frozenset({"refused", "abandoned"})

# Provider, model and deployment.
DeploymentLabels = tuple[str, str, str]
_UNKNOWN: DeploymentLabels = (OTHER, OTHER, OTHER)
_UNROUTED: DeploymentLabels = (NONE, NONE, NONE)
# By series, what is to be added.
_Increments = defaultdict[Counter, float]
_LABELS = ("provider", "model", "deployment")
_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "deployment")


class _OperationSeries(msgspec.Struct, frozen=True):
    """The series of one operation at one deployment."""

    seconds: Histogram
    first_chunk_seconds: Histogram
    input_tokens: Histogram
    output_tokens: Histogram
    cost: Counter


class CallMetrics:
    """Counts entries that were added to the ledger. Amounts are floats here, and nowhere else."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        cached = lru_cache(_CACHED_SERIES)
        self._calls = cached(
            counter("ledger_calls", "Posted calls by how they ended", (*_LABELS, "end")).labels
        )
        self._tokens = cached(
            counter(
                "ledger_tokens", "Tokens of posted calls by class", (*_LABELS, "token_class")
            ).labels
        )
        self._cost = counter(
            "ledger_cost_usd", "What posted calls cost, corrections left out", _LABELS
        )
        self._attempts = cached(
            counter(
                "ledger_attempts", "Tries of deployments by posted calls", (*_LABELS, "end")
            ).labels
        )
        self._fallbacks = counter(
            "ledger_fallbacks",
            "Posted calls that another deployment answered than the first one tried",
            _LABELS,
        )
        self._seconds = histogram(
            "gen_ai_client_operation_duration_seconds",
            "Duration of posted calls from their arrival to their last byte",
            _GEN_AI,
            buckets=_SECONDS,
        )
        self._first_chunk = histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "Time from the arrival of posted calls with streams to their first byte",
            _GEN_AI,
            buckets=_FIRST_CHUNK_SECONDS,
        )
        self._token_usage = histogram(
            "gen_ai_client_token_usage",
            "Tokens of one posted call, input with cached ones and output with reasoning",
            (*_GEN_AI, "gen_ai_token_type"),
            buckets=_TOKENS,
        )
        self._overhead = histogram(
            "ledger_call_overhead_seconds",
            "The gateway's own share of the duration of posted calls, by relayed or translated",
            ("path",),
            buckets=_OVERHEAD_SECONDS,
        )
        self._overhead_of = {
            False: self._overhead.labels("relayed"),
            True: self._overhead.labels("translated"),
        }
        self._routed: set[DeploymentLabels] = set()
        self._unrouted: set[DeploymentLabels] = set()
        self._operations: dict[tuple[str, DeploymentLabels], _OperationSeries] = {}

    def count(self, entries: Iterable[LedgerEntry]) -> None:
        """Corrections are left out, but for what became of a call that had been given up.

        Counts are added up first, since updating a counter takes a lock.
        """
        added: _Increments = defaultdict(float)
        for entry in entries:
            if entry.kind in {"call", "late_event"}:
                self._count(entry, added)
        for series, amount in added.items():
            series.inc(amount)

    def _count(self, entry: LedgerEntry, added: _Increments) -> None:
        is_priced = entry.price_id is not None
        labels = self._labels(entry.provider, entry.model, entry.deployment, is_priced=is_priced)
        added[self._calls(*labels, entry.status)] += 1
        self._count_attempts(entry, labels, added)
        if entry.overhead_ms is not None:
            self._overhead_of[entry.translated].observe(entry.overhead_ms / 1000)
        if entry.operation == "create" and entry.status not in _UNCALLED:
            self._count_operation(entry, labels, added)

    def _count_operation(
        self, entry: LedgerEntry, labels: DeploymentLabels, added: _Increments
    ) -> None:
        series = self._operation(GEN_AI_OPERATIONS[entry.format], labels)
        if entry.latency_ms is not None:
            series.seconds.observe(entry.latency_ms / 1000)
        if entry.stream and entry.first_byte_ms is not None:
            series.first_chunk_seconds.observe(entry.first_byte_ms / 1000)
        if entry.cost_nusd > 0:
            added[series.cost] += entry.cost_nusd / _NUSD
        if entry.usage is None:
            return
        parts = (entry.usage, *entry.usage.runs)
        series.input_tokens.observe(sum(map(total_input, parts)))
        series.output_tokens.observe(sum(map(total_output, parts)))
        for part in parts:
            for token_class, tokens in used_classes(part):
                added[self._tokens(*labels, token_class)] += tokens

    def _count_attempts(
        self, entry: LedgerEntry, answer_labels: DeploymentLabels, added: _Increments
    ) -> None:
        failed = entry.failed_attempts
        for attempt in failed:
            labels = self._labels(
                attempt.provider, attempt.model, attempt.deployment, is_priced=False
            )
            added[self._attempts(*labels, "failed")] += 1
        if entry.attempts > len(failed):
            added[self._attempts(*answer_labels, "answered")] += 1
            if failed and failed[0].deployment != entry.deployment:
                added[self._fallbacks.labels(*answer_labels)] += 1

    def _labels(
        self, provider: str | None, model: str | None, deployment: str | None, *, is_priced: bool
    ) -> DeploymentLabels:
        if provider is None or model is None:
            return _UNROUTED
        labels = (provider, model, deployment or NONE)
        if labels in self._routed or labels in self._unrouted:
            return labels
        # As the gateway names the deployment of a call without a route.
        is_unrouted = deployment in {None, f"{provider}/{model}"}
        if is_unrouted and not is_priced:
            return _UNKNOWN
        known, limit = (self._unrouted, MAX_UNROUTED) if is_unrouted else (self._routed, MAX_ROUTED)
        if len(known) >= limit:
            return _UNKNOWN
        known.add(labels)
        return labels

    def _operation(
        self, operation: Literal["chat", "embeddings"], labels: DeploymentLabels
    ) -> _OperationSeries:
        series = self._operations.get((operation, labels))
        if series is None:
            gen_ai: Sequence[str] = (operation, *labels)
            series = self._operations[operation, labels] = _OperationSeries(
                seconds=self._seconds.labels(*gen_ai),
                first_chunk_seconds=self._first_chunk.labels(*gen_ai),
                input_tokens=self._token_usage.labels(*gen_ai, "input"),
                output_tokens=self._token_usage.labels(*gen_ai, "output"),
                cost=self._cost.labels(*labels),
            )
        return series
