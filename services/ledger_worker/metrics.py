"""The worker's Prometheus metrics."""

import math
from functools import partial
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from libs.common.build import report_build
from libs.common.storage.mongo.dead_letters import LetterKind
from libs.common.storage.probes import Probes
from libs.common.storage.queue.event_queue import QueueState
from services.ledger_worker.call_metrics import CallMetrics

_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_SECONDS_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """One registry per worker, so that two in one process do not collide."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self.calls = CallMetrics(self.registry)
        self.databases = Probes("ledger", self.registry)
        report_build("ledger", self.registry)
        self.posted = counter("ledger_entries_posted", "Entries added to the ledger")
        self.skipped = counter(
            "ledger_entries_skipped", "Events delivered again, whose entry exists"
        )
        self.unpriced = counter("ledger_entries_unpriced", "Events with usage but without a price")
        self.corrections = counter(
            "ledger_corrections_posted",
            "Corrections posted: orders of the admin service, and prices set after their calls",
        )
        self.verify_ok = gauge(
            "ledger_verify_ok",
            "1 where the last proof found no difference, 0 where it did, NaN before the first",
        )
        self.verify_ok.set(math.nan)
        self.verify_last_success = gauge(
            "ledger_verify_last_success_timestamp",
            "When all accounts were last proved without a difference (Unix seconds)",
        )
        self.abandoned = counter(
            "ledger_calls_abandoned",
            "Calls that their gateway never finished, counted each time the sweep finds them",
        )
        self.alerts = counter(
            "ledger_alerts",
            "Tries to send an alert by outcome: delivered, postponed or failed",
            ["end"],
        )
        self.dead_letters = counter(
            "ledger_dead_letters", "Deliveries that cannot be posted", ["kind"]
        )
        self.recordings = counter(
            "ledger_recordings",
            "Recordings by outcome: stored, expired, damaged or refused",
            ["end"],
        )
        self.traced_calls = counter(
            "ledger_traced_calls",
            "Calls whose spans were exported, failed to be, or were dropped before",
            ["end"],
        )
        self._begin_at_0()
        self.retries = counter("ledger_job_retries", "Jobs postponed for a retry")
        self.missing_jobs = counter(
            "ledger_missing_jobs", "Queued jobs whose data Redis no longer had"
        )
        self.batch_size = histogram(
            "ledger_transaction_events", "Events in one transaction", buckets=_BATCH_BUCKETS
        )
        self.post_seconds = histogram(
            "ledger_post_seconds",
            "Time to price, post and settle one transaction's events",
            buckets=_SECONDS_BUCKETS,
        )
        self.redis_memory_ratio = gauge(
            "ledger_redis_memory_ratio",
            "Share of maxmemory that Redis uses: at 1 it rejects new work; 0 without a limit",
        )
        self.unrolled_oldest_s = gauge(
            "ledger_unrolled_oldest_seconds",
            "Age of the oldest sums that are not added to the rollups yet",
        )
        self.queue = QueueGauges(self.registry)

    def _begin_at_0(self) -> None:
        """Prometheus does not see a series' first count as an increase."""
        for kind in get_args(LetterKind):
            self.dead_letters.labels(kind)
        for end in ("delivered", "postponed", "failed"):
            self.alerts.labels(end)
        for end in ("exported", "failed", "dropped"):
            self.traced_calls.labels(end)
        for end in ("stored", "expired", "damaged", "refused"):
            self.recordings.labels(end)


class QueueGauges:
    """The queue as it was last measured."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, registry=registry)
        self._jobs = gauge("ledger_queue_jobs", "Jobs that wait or run")
        self._shards_away = gauge(
            "ledger_queue_shards_away",
            "Shards of a Redis Cluster whose jobs are not counted: they do not answer",
        )
        self._oldest_s = gauge(
            "ledger_queue_oldest_seconds", "Age of the oldest job in a sample of the queue"
        )

    def show(self, state: QueueState, now_s: float) -> None:
        self._jobs.set(state.jobs)
        self._shards_away.set(state.shards_away)
        enqueued_s = now_s if state.oldest_ms is None else state.oldest_ms / 1000
        self._oldest_s.set(max(now_s - enqueued_s, 0.0))
