"""Stores recordings of calls.

The ledger does not depend on them, so a recording that cannot be stored is dropped: a dead letter
would outlive the retention, and deleting recordings would not reach it.
"""

from collections.abc import Callable
from datetime import datetime

import structlog

from libs.common.storage.mongo.driver import BSONError, PyMongoError, refusal
from libs.common.storage.queue.recordings import DamagedRecordings, RecordingStore, unpack
from services.ledger_worker.metrics import Metrics

# While MongoDB is unavailable, a job is retried without end; what it rejects, some ten minutes.
_MAX_REFUSALS = 25

log = structlog.get_logger(__name__)


class NotStored(Exception):
    """A retry may pass. Leaves out the driver's message, which may quote a recorded text."""


class RecordingKeeper:
    """Idempotent: a recording that is delivered twice is stored once."""

    def __init__(
        self, store: RecordingStore, metrics: Metrics, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._now = now

    async def keep(self, payload: bytes, job_id: str, tries: int) -> None:
        """Raises NotStored."""
        try:
            recordings = unpack(payload)
        except DamagedRecordings as error:
            self._drop("damaged", 1, job_id, error)
            return
        # A job may have waited for longer than the shortest retention.
        unexpired = [recording for recording in recordings if recording.expires_at > self._now()]
        self._metrics.recordings.labels("expired").inc(len(recordings) - len(unexpired))
        try:
            await self._store.add(unexpired)
        except (PyMongoError, BSONError, OverflowError) as error:
            refused = refusal(error)
            if refused is None or (refused == "unknown" and tries < _MAX_REFUSALS):
                raise NotStored(type(error).__name__) from None
            self._drop("refused", len(unexpired), job_id, error)
        else:
            self._metrics.recordings.labels("stored").inc(len(unexpired))

    def _drop(self, outcome: str, count: int, job_id: str, error: Exception) -> None:
        self._metrics.recordings.labels(outcome).inc(count)
        log.error("recordings.lost", why=outcome, job_id=job_id, error_type=type(error).__name__)
