"""What the worker counts, for Prometheus."""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_SECONDS_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """One registry per worker, so that two in one process do not collide."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.posted = Counter(
            "ledger_entries_posted", "Entries added to the ledger", registry=registry
        )
        self.skipped = Counter(
            "ledger_entries_skipped",
            "Events delivered again, whose entry was there",
            registry=registry,
        )
        self.unpriced = Counter(
            "ledger_entries_unpriced", "Events with usage but without a price", registry=registry
        )
        self.corrections = Counter(
            "ledger_corrections_posted",
            "Corrections posted: orders of the admin service, and prices that came late",
            registry=registry,
        )
        self.verify_ok = Gauge(
            "ledger_verify_ok",
            "1 where the last proof found no difference, 0 where it did, NaN before the first",
            registry=registry,
        )
        self.verify_ok.set(math.nan)
        self.verify_last_success = Gauge(
            "ledger_verify_last_success_timestamp",
            "When all accounts were last proved without a difference (Unix seconds)",
            registry=registry,
        )
        self.abandoned = Counter(
            "ledger_calls_abandoned",
            "Calls that their gateway never finished, counted each time they are found",
            registry=registry,
        )
        self.notices = Counter(
            "ledger_notices",
            "Messages to the webhook by how they ended",
            ["end"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "ledger_dead_letters", "Deliveries that cannot be posted", ["kind"], registry=registry
        )
        self.recordings = Counter(
            "ledger_recordings",
            "Recordings by what became of them: stored, expired, damaged or refused",
            ["end"],
            registry=registry,
        )
        self.retries = Counter(
            "ledger_job_retries", "Jobs put back to be tried again", registry=registry
        )
        self.missing_jobs = Counter(
            "ledger_missing_jobs", "Queued jobs whose data Redis no longer had", registry=registry
        )
        self.batch_size = Histogram(
            "ledger_transaction_events",
            "Events in one transaction",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self.post_seconds = Histogram(
            "ledger_post_seconds",
            "Time to price, post and settle one transaction's events",
            buckets=_SECONDS_BUCKETS,
            registry=registry,
        )
        self.queue_jobs = Gauge(
            "ledger_queue_jobs", "Jobs that wait or are under way", registry=registry
        )
        self.queue_oldest_s = Gauge(
            "ledger_queue_oldest_seconds",
            "Age of the oldest job in a sample of the queue",
            registry=registry,
        )
