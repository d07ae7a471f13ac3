"""Adds records to the audit log, one after another, beside other processes that do the same."""

import asyncio
import random

import structlog

from libs.common.domain.audit_chain import EMPTY, head_of, linked
from libs.common.errors import Unavailable
from libs.common.schemas.audit import AuditRecord
from libs.common.storage.mongo.audit import AuditStore
from libs.common.storage.mongo.driver import PyMongoError

log = structlog.get_logger(__name__)

# Another process that adds records takes a number of ours now and then, and never for long.
_TRIES = 40
_LONGEST_PAUSE_S = 0.02


class AuditTrail:
    """One per process: its requests queue for the next number instead of racing for it."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store
        self._lock = asyncio.Lock()
        self._head = EMPTY

    async def add(self, record: AuditRecord) -> AuditRecord:
        """Returns the linked record. Raises Unavailable if it cannot be recorded."""
        try:
            async with self._lock:
                added = await self._link(record)
        except PyMongoError as error:
            raise _unavailable() from error
        log.info("audit.recorded", seq=added.seq, hash=added.hash)
        return added

    async def note_head(self, record: AuditRecord) -> None:
        """Makes removal of the last records detectable. The next call makes up for a failure."""
        try:
            await self._store.note_head(head_of(record))
        except PyMongoError as error:
            log.warning("audit.head_not_noted", error=error)

    async def _link(self, record: AuditRecord) -> AuditRecord:
        for _ in range(_TRIES):
            added = linked(record, self._head)
            if await self._store.add(added):
                self._head = head_of(added)
                return added
            self._head = await self._store.last() or EMPTY
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_S))
        raise _unavailable()


def _unavailable() -> Unavailable:
    message = "The audit log cannot be written, so nothing was changed. Retry shortly."
    return Unavailable(message, retry_after_s=2)
