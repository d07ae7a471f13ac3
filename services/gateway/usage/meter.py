"""Makes usage events durable before the last byte of their calls goes out (P3).

Events of concurrent calls share one write: one arq job for all, and each call's hold resized to
its cost, in one round trip. While Redis cannot be reached, events go to the spool. An event that
neither takes stays in memory and is retried for as long as the process lives; meanwhile new calls
are refused, so that only the events of calls under way can wait.
"""

import asyncio
import math
from base64 import b64encode
from collections import deque
from collections.abc import Sequence
from os import urandom
from time import monotonic

import structlog

from libs.common.breaker import Breaker
from libs.common.errors import AnswerWithheld
from libs.common.group_commit import GroupCommit
from libs.common.logging import describe
from libs.common.storage.provider_objects import remember
from libs.common.storage.queue.event_queue import encode_batch, enqueue_batch, queues_of
from libs.common.storage.redis.client import NoScriptError, OutOfMemoryError, RedisError
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.pipelining import NotReplicated, Transaction
from services.gateway.admission.admissions import Admissions
from services.gateway.metrics import (
    EVENTS_IN_MEMORY,
    EVENTS_SPOOLED,
    REDIS_FULL,
    SPOOL_BACKLOG,
    SPOOL_BYTES,
    SPOOL_LACKS_ROOM,
)
from services.gateway.spool.backlog import Backlog, Metered, Record, as_spooled, cannot_record
from services.gateway.spool.spool import SpoolFull

log = structlog.get_logger(__name__)
_MAX_BATCH = 200
_MAX_WAITING = 10_000
_DRAIN_PAUSE_S = 1.0
_RETRY_PAUSE_S = 0.25
# How long a client waits for an event that cannot be written, before it gets an error.
_CLIENT_WAIT_S = 30.0
# How long the process retries once all calls are over; the platform's kill must come later.
_CLOSE_S = 8.0
_WITHHELD = (
    "The provider has answered, but the gateway cannot record the call's usage, so it withholds "
    "the answer's end. The call counts; do not repeat it before the gateway's /ready is ok."
)


class NotDurable(Exception):
    """Events in memory could be lost, so `/ready` fails."""


class Meter:
    """Enqueues the usage events of calls, each with its hold's release."""

    def __init__(
        self,
        holds: HoldStore,
        backlog: Backlog,
        breaker: Breaker,
        admissions: Admissions,
        *,
        client_wait_s: float = _CLIENT_WAIT_S,
        close_s: float = _CLOSE_S,
        drain_pause_s: float = _DRAIN_PAUSE_S,
    ) -> None:
        self._client_wait_s = client_wait_s
        self._close_s = close_s
        self._drain_pause_s = drain_pause_s
        self._admissions = admissions
        self._holds = holds
        self._shards = holds.shards
        self._queues = queues_of(self._shards)
        self._backlog = backlog
        self._breaker = breaker
        self._commits: GroupCommit[Metered, None] = GroupCommit(
            self._write, max_items=_MAX_BATCH, max_waiting=_MAX_WAITING
        )
        # The time since which neither Redis nor the spool has taken an event.
        self._failing_since: float | None = None
        # The number of events in the write under way, and the batches whose clients got an error.
        self._trying = 0
        self._unwritten: deque[Sequence[Metered]] = deque()
        self._give_up_at = math.inf
        # Read when metrics are scraped.
        EVENTS_IN_MEMORY.set_function(self.in_memory)

    def require_writable(self) -> None:
        """Raises NothingRecordable if no call may begin: events wait in memory, or Redis is away
        and the rest of the spool is reserved for calls under way.
        """
        if self._failing_since is not None or (
            self._breaker.is_open and self._backlog.lacks_room is not None
        ):
            raise cannot_record()

    async def check(self) -> None:
        """For `/ready`. Raises NotDurable."""
        if waiting := self.in_memory():
            raise NotDurable(
                f"{waiting} usage events wait in memory: neither Redis nor the spool takes them"
            )

    async def enqueue(self, metered: Metered) -> None:
        """Returns when the event is durable.

        Raises AnswerWithheld if that takes too long; the event is still written once it can be.
        """
        try:
            await self._commits.commit(metered)
        except (SpoolFull, OSError) as error:
            raise AnswerWithheld(_WITHHELD) from error

    def enqueue_nowait(self, metered: Metered) -> None:
        """For a handler that is being cancelled; `close` waits for the event."""
        self._commits.submit(metered)

    def in_memory(self) -> int:
        """How many events neither Redis nor the spool has taken, although they were tried."""
        if self._failing_since is None:
            return 0
        return self._trying + self._commits.waiting + sum(map(len, self._unwritten))

    async def close(self) -> None:
        """Retries until its time is over, then logs the events that are left."""
        self._give_up_at = monotonic() + self._close_s
        await self._commits.close()
        while self._unwritten and monotonic() < self._give_up_at:
            await self._write_again()
            await asyncio.sleep(_RETRY_PAUSE_S if self._unwritten else 0)
        for metered in (each for batch in self._unwritten for each in batch):
            log.critical(
                "usage.lost",
                call_id=metered.event.call_id,
                user_id=metered.event.user_id,
                record=b64encode(as_spooled(metered)).decode(),
            )

    async def drain_spool(self) -> None:
        """Runs until cancelled: empties memory and spool whenever Redis can be reached."""
        while True:
            await asyncio.sleep(self._drain_pause_s)
            await self._write_again()
            await self._backlog.keep_room()
            SPOOL_LACKS_ROOM.set(self._backlog.lacks_room is not None)
            waits = not self._backlog.is_empty()
            SPOOL_BACKLOG.set(waits)
            SPOOL_BYTES.set(self._backlog.size())
            if waits or self._breaker.is_open:
                await self._drain()
            else:
                REDIS_FULL.set(0)
                self._admissions.spool_is_drained()

    async def _drain(self) -> None:
        """Also probes Redis, since no call does so while none may begin."""
        try:
            sent = await self.drain_backlog()
        except (RedisError, OSError) as error:
            REDIS_FULL.set(isinstance(error, OutOfMemoryError))
            log.warning("spool.waiting", error=error)
        else:
            self._breaker.succeeded()
            if sent:
                log.info("spool.drained", records=sent)

    async def drain_backlog(self) -> int:
        """Returns how many records Redis took. Raises RedisError or OSError."""
        # A restarted Redis has lost the scripts, and each batch should be sent once.
        await self._holds.load_scripts()
        return await self._backlog.drain(self._unspool, self._dead_letter)

    async def _write(self, batch: Sequence[Metered]) -> Sequence[None]:
        """Keeps the batch, and raises SpoolFull or OSError once clients have waited too long."""
        self._trying = len(batch)
        while (error := await self._try(batch)) is not None:
            now = monotonic()
            since = self._failing_since = self._failing_since or now
            if now >= min(since + self._client_wait_s, self._give_up_at):
                self._trying = 0
                self._unwritten.append(batch)
                raise error
            await asyncio.sleep(_RETRY_PAUSE_S)
        self._trying = 0
        return [None] * len(batch)

    async def _write_again(self) -> None:
        """Retries batches whose clients got an error; their events still belong in the ledger."""
        while self._unwritten and await self._try(self._unwritten[0]) is None:
            for metered in self._unwritten.popleft():
                finished = metered.finished
                cost_nusd = 0 if finished is None else finished.cost_nusd
                self._admissions.close_call(metered.event.call_id, cost_nusd)

    async def _try(self, batch: Sequence[Metered]) -> SpoolFull | OSError | None:
        """Writes to Redis, else to the spool. Returns the error if neither takes the batch."""
        error = await self._try_redis(batch)
        if error is not None:
            try:
                await self._backlog.add(batch)
            except (SpoolFull, OSError) as full:
                if self._failing_since is None:
                    log.critical("usage.not_durable", redis=error, spool=full)
                return full
            EVENTS_SPOOLED.inc(len(batch))
        if self._failing_since is not None and not self._unwritten:
            log.warning("usage.durable", after_s=round(monotonic() - self._failing_since, 1))
        self._failing_since = None
        return None

    async def _try_redis(self, batch: Sequence[Metered]) -> str | None:
        if not self._breaker.allows():
            return "away a moment ago"
        try:
            await self._send(encode_batch([metered.event for metered in batch]), batch)
        except NotReplicated as error:
            # Redis is there: calls are still admitted by it.
            log.warning("usage.not_replicated", error=error)
            return describe(error)
        except (RedisError, OSError) as error:
            self._breaker.failed()
            REDIS_FULL.set(isinstance(error, OutOfMemoryError))
            log.warning("usage.spooling", error=error)
            return describe(error)
        self._breaker.succeeded()
        return None

    async def _unspool(self, record: Record, batch: Sequence[Metered]) -> None:
        """Takes the holds again, then enqueues the batch, whose posting releases them."""
        for hold in record.holds:
            # A closed call of this process has its event on the queue. A call of a dead process
            # may have one too; then that event wins, and the hold does no harm.
            if record.process != self._backlog.process or self._admissions.is_open(hold.call_id):
                await self._holds.announce_account(hold.user_id)
                await self._holds.retake(hold)
                self._admissions.redis_has_hold(hold.call_id)
        if batch:
            await self._send(record.payload, batch)

    async def _dead_letter(self, record: bytes) -> None:
        """Enqueues a record that cannot be read: the worker moves it to the dead letters."""
        await self._send(record, ())

    async def _send(self, payload: bytes, batch: Sequence[Metered]) -> None:
        try:
            await self._transact(payload, batch)
        except NoScriptError:
            # A restarted Redis has lost the scripts; sending the batch again is harmless.
            await self._holds.load_scripts()
            await self._transact(payload, batch)

    async def _transact(self, payload: bytes, batch: Sequence[Metered]) -> None:
        """Each try is a new job, so that a hold which it takes again is settled again."""
        transaction = Transaction()
        for metered in batch:
            if metered.finished is not None:
                self._holds.finish(transaction, metered.finished)
            remember(transaction, self._shards, metered.event)
        enqueue_batch(transaction, self._queues[0], urandom(16).hex(), payload)
        await self._holds.transact(transaction)
