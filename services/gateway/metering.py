"""Makes usage events durable before the last byte of their calls goes out (P3).

Events of concurrent calls share one write: one arq job for all, and each call's hold resized to
its cost, in one round trip. While Redis cannot be reached they go to the spool instead.
"""

import asyncio
from collections.abc import Sequence
from os import urandom

import structlog

from libs.common.breaker import Breaker
from libs.common.group_commit import GroupCommit
from libs.common.logging import words_of
from libs.common.storage.event_queue import encode_batch, enqueue_batch
from libs.common.storage.holds import HoldStore
from libs.common.storage.objects import remember
from libs.common.storage.pipelining import Transaction
from libs.common.storage.redis import NoScriptError, RedisError
from services.gateway.admission import Admissions
from services.gateway.backlog import Backlog, Metered, Record, cannot_record
from services.gateway.metrics import EVENTS_SPOOLED, SPOOL_BACKLOG
from services.gateway.spool import SpoolFull

log = structlog.get_logger(__name__)
_MAX_BATCH = 200
_MAX_WAITING = 10_000
_DRAIN_PAUSE_S = 1.0


class Meter:
    """Where calls hand in their events."""

    def __init__(
        self, holds: HoldStore, backlog: Backlog, breaker: Breaker, admissions: Admissions
    ) -> None:
        self._admissions = admissions
        self._holds = holds
        self._backlog = backlog
        self._breaker = breaker
        self._commits: GroupCommit[Metered, None] = GroupCommit(
            self._write, max_items=_MAX_BATCH, max_waiting=_MAX_WAITING
        )

    async def commit(self, metered: Metered) -> None:
        """Returns when the event is durable. Raises Unavailable where that cannot be done."""
        try:
            await self._commits.commit(metered)
        except (SpoolFull, OSError) as error:
            log.critical("usage.not_durable", call_id=metered.event.call_id, error=words_of(error))
            raise cannot_record() from error

    def hand_in(self, metered: Metered) -> None:
        """For a handler that is being cancelled: `close` waits for what was handed in."""
        self._commits.submit(metered)

    async def close(self) -> None:
        await self._commits.close()

    async def drain_spool(self) -> None:
        """Runs until cancelled: empties the spool whenever Redis can be reached."""
        while True:
            await asyncio.sleep(_DRAIN_PAUSE_S)
            if self._backlog.is_empty():
                SPOOL_BACKLOG.set(0)
                if not self._breaker.is_open:
                    self._admissions.spool_drained()
                continue
            SPOOL_BACKLOG.set(1)
            try:
                sent = await self.tell_redis()
            except (RedisError, OSError) as error:
                log.warning("spool.waiting", error=words_of(error))
            else:
                if sent:
                    log.info("spool.drained", records=sent)

    async def tell_redis(self) -> int:
        """Sends what is in the backlog; how many records. Raises RedisError or OSError."""
        # A restarted Redis has forgotten the scripts; each batch is to be sent once.
        await self._holds.load_scripts()
        return await self._backlog.drain(self._unspool, self._bury)

    async def _write(self, batch: Sequence[Metered]) -> Sequence[None]:
        payload = encode_batch([metered.event for metered in batch])
        if self._breaker.allows():
            try:
                await self._enqueue(payload, batch)
            except (RedisError, OSError) as error:
                self._breaker.failed()
                log.warning("usage.spooling", error=words_of(error))
            else:
                self._breaker.succeeded()
                return [None] * len(batch)
        await self._backlog.add(payload, [metered.finished for metered in batch])
        EVENTS_SPOOLED.inc(len(batch))
        return [None] * len(batch)

    async def _unspool(self, record: Record, batch: Sequence[Metered]) -> None:
        """Puts a batch on the queue; what it cost is held until the ledger has posted it."""
        for hold in record.holds:
            # One of this process that is over has handed in its event; whether one of a dead
            # process has is not known, and does no harm: that event wins.
            if record.process != self._backlog.process or self._admissions.is_open(hold.call_id):
                await self._holds.note_account(hold.user_id)
                await self._holds.retake(hold)
                self._admissions.told(hold.call_id)
        if batch:
            await self._enqueue(record.payload, batch)

    async def _bury(self, record: bytes) -> None:
        """The worker keeps it with the dead letters."""
        await self._enqueue(record, ())

    async def _enqueue(self, payload: bytes, batch: Sequence[Metered]) -> None:
        try:
            await self._send(payload, batch)
        except NoScriptError:
            # A restarted Redis has forgotten the scripts; sending again is harmless.
            await self._holds.load_scripts()
            await self._send(payload, batch)

    async def _send(self, payload: bytes, batch: Sequence[Metered]) -> None:
        """Each try is a job of its own, so that whatever hold it takes again is settled again."""
        transaction = Transaction()
        for metered in batch:
            if metered.finished is not None:
                self._holds.finish(transaction, metered.finished)
            remember(transaction, metered.event)
        enqueue_batch(transaction, urandom(16).hex(), payload)
        await self._holds.transact(transaction)
