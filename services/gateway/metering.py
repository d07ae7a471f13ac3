"""Makes usage events durable before the last byte of their calls goes out (P3).

Events of concurrent calls share one write: one arq job for all, and each call's hold resized to
its cost, in one round trip. While Redis cannot be reached they go to the spool instead.
"""

import asyncio
from collections.abc import Callable, Sequence
from uuid import uuid4

import msgspec
import structlog

from libs.common.breaker import Breaker
from libs.common.errors import Unavailable
from libs.common.group_commit import GroupCommit
from libs.common.logging import words_of
from libs.common.schemas.usage import UsageEvent
from libs.common.storage.event_queue import (
    UNREADABLE,
    decode_event,
    encode_batch,
    enqueue_batch,
    split_batch,
)
from libs.common.storage.holds import Finished, HoldStore
from libs.common.storage.pipelining import Transaction
from libs.common.storage.redis import NoScriptError, RedisError
from libs.common.storage.responses import remember
from services.gateway.metrics import EVENTS_SPOOLED, SPOOL_BACKLOG
from services.gateway.spool import Spool, SpoolFull

log = structlog.get_logger(__name__)
_MAX_BATCH = 200
_MAX_WAITING = 10_000
_DRAIN_PAUSE_S = 1.0


class Metered(msgspec.Struct, frozen=True):
    """An event and what becomes of its hold; None where the call held nothing."""

    event: UsageEvent
    finished: Finished | None


class _Spooled(msgspec.Struct, frozen=True):
    """A batch in the spool, with what becomes of the hold of each of its events."""

    payload: bytes
    finished: tuple[Finished | None, ...]


_encode_spooled = msgspec.msgpack.Encoder().encode
_decode_spooled = msgspec.msgpack.Decoder(_Spooled).decode


class Meter:
    """Where calls hand in their events. `on_drained`: Redis has been told of all of them."""

    def __init__(
        self,
        holds: HoldStore,
        spool: Spool,
        breaker: Breaker,
        on_drained: Callable[[], None],
    ) -> None:
        self._on_drained = on_drained
        self._holds = holds
        self._spool = spool
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
            raise Unavailable(
                "The gateway cannot record usage at the moment, so it serves no calls."
            ) from error

    def hand_in(self, metered: Metered) -> None:
        """For a handler that is being cancelled: `close` waits for what was handed in."""
        self._commits.submit(metered)

    async def close(self) -> None:
        await self._commits.close()

    async def drain_spool(self) -> None:
        """Runs until cancelled: empties the spool whenever Redis can be reached."""
        while True:
            await asyncio.sleep(_DRAIN_PAUSE_S)
            if self._spool.is_empty():
                SPOOL_BACKLOG.set(0)
                if not self._breaker.is_open:
                    self._on_drained()
                continue
            SPOOL_BACKLOG.set(1)
            try:
                # A restarted Redis has forgotten the scripts; each batch is to be sent once.
                await self._holds.load_scripts()
                sent = await self._spool.drain(self._unspool)
            except (RedisError, OSError) as error:
                log.warning("spool.waiting", error=words_of(error))
            else:
                if sent:
                    log.info("spool.drained", batches=sent)

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
        spooled = _Spooled(payload, tuple(metered.finished for metered in batch))
        await self._spool.append(_encode_spooled(spooled))
        EVENTS_SPOOLED.inc(len(batch))
        return [None] * len(batch)

    async def _unspool(self, record: bytes) -> None:
        """Puts a batch on the queue; what it cost is held until the ledger has posted it."""
        try:
            spooled = _decode_spooled(record)
            events = [decode_event(raw) for raw in split_batch(spooled.payload)]
            batch = [Metered(*row) for row in zip(events, spooled.finished, strict=True)]
        except UNREADABLE as error:
            # The worker keeps it with the dead letters.
            log.error("spool.unreadable", error=words_of(error))
            await self._enqueue(record, ())
        else:
            await self._enqueue(spooled.payload, batch)

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
        enqueue_batch(transaction, uuid4().hex, payload)
        await self._holds.transact(transaction)
