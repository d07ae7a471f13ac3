"""Stores what gateways recorded of calls.

Nothing of it is money, so what cannot be stored is dropped: a dead letter would keep it beyond its
time, and out of reach of whoever deletes recordings.
"""

from collections.abc import Callable
from datetime import datetime

import structlog

from libs.common.storage.mongo.driver import BSONError, PyMongoError, refusal
from libs.common.storage.queue.recordings import DamagedRecordings, RecordingStore, unpack
from services.ledger_worker.metrics import Metrics

# While MongoDB is merely away, a job is tried forever; what it refuses, for some ten minutes.
_MAX_REFUSALS = 25

log = structlog.get_logger(__name__)


class NotStored(Exception):
    """Trying again may help. The driver's own words, which end up in a log, may repeat a text."""


class RecordingKeeper:
    """Storing twice what is delivered twice changes nothing."""

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
            self._lose("damaged", 1, job_id, error)
            return
        # A job may have waited for longer than the shortest retention.
        alive = [recording for recording in recordings if recording.expires_at > self._now()]
        self._metrics.recordings.labels("expired").inc(len(recordings) - len(alive))
        try:
            await self._store.add(alive)
        except (PyMongoError, BSONError, OverflowError) as error:
            refused = refusal(error)
            if refused is None or (refused == "unknown" and tries < _MAX_REFUSALS):
                raise NotStored(type(error).__name__) from None
            self._lose("refused", len(alive), job_id, error)
        else:
            self._metrics.recordings.labels("stored").inc(len(alive))

    def _lose(self, why: str, count: int, job_id: str, error: Exception) -> None:
        self._metrics.recordings.labels(why).inc(count)
        log.error("recordings.lost", why=why, job_id=job_id, error_type=type(error).__name__)
