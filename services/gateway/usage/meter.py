"""Makes usage events durable before the last byte of their calls goes out (P3).

Events of concurrent calls share one write: one arq job for all of a shard, and each call's hold
resized to its cost, in one round trip. While Redis cannot be reached, events go to the spool. An
event that neither takes stays in memory and is retried for as long as the process lives; meanwhile
the shard's new calls are refused, so that only the events of calls under way can wait.
"""

import asyncio

import structlog

from libs.common.errors import AnswerWithheld
from libs.common.storage.queue.event_queue import queues_of
from libs.common.storage.redis.breakers import Breakers
from libs.common.storage.redis.client import OutOfMemoryError, RedisError
from libs.common.storage.redis.holds import HoldStore
from services.gateway.admission.admissions import Admissions
from services.gateway.metrics import (
    EVENTS_IN_MEMORY,
    REDIS_FULL,
    SPOOL_BACKLOG,
    SPOOL_BYTES,
    SPOOL_LACKS_ROOM,
)
from services.gateway.spool.backlog import Backlog, Metered, cannot_record
from services.gateway.spool.spool import SpoolFull
from services.gateway.usage.shard_meter import ShardMeter
from services.gateway.usage.spool_drain import SpoolDrain

log = structlog.get_logger(__name__)
_DRAIN_PAUSE_S = 1.0
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
    """Enqueues the usage events of calls, each in its account's shard."""

    def __init__(
        self,
        holds: HoldStore,
        backlog: Backlog,
        breakers: Breakers,
        admissions: Admissions,
        *,
        client_wait_s: float = _CLIENT_WAIT_S,
        close_s: float = _CLOSE_S,
        drain_pause_s: float = _DRAIN_PAUSE_S,
    ) -> None:
        self._close_s = close_s
        self._drain_pause_s = drain_pause_s
        self._admissions = admissions
        self._backlog = backlog
        self._shard_of = holds.shards.of
        self._meters = tuple(
            ShardMeter(holds, queue, backlog, breaker, admissions, client_wait_s=client_wait_s)
            for queue, breaker in zip(queues_of(holds.shards), breakers.by_shard, strict=True)
        )
        self._spool = SpoolDrain(holds, backlog, self._meters, admissions)
        # Read when metrics are scraped.
        EVENTS_IN_MEMORY.set_function(self.in_memory)

    def require_writable(self, user_id: str) -> None:
        """Raises NothingRecordable if no call of the account may begin."""
        if self._meters[self._shard_of(user_id)].may_lose:
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
            await self._meters[self._shard_of(metered.event.user_id)].commit(metered)
        except (SpoolFull, OSError) as error:
            raise AnswerWithheld(_WITHHELD) from error

    def enqueue_nowait(self, metered: Metered) -> None:
        """For a handler that is being cancelled; `close` waits for the event."""
        self._meters[self._shard_of(metered.event.user_id)].submit(metered)

    def in_memory(self) -> int:
        """How many events neither Redis nor the spool has taken, although they were tried."""
        return sum(meter.in_memory() for meter in self._meters)

    async def close(self) -> None:
        """Retries until its time is over, then logs the events that are left."""
        await asyncio.gather(*(meter.close(self._close_s) for meter in self._meters))

    async def drain_spool(self) -> None:
        """Runs until cancelled: empties memory and spool whenever Redis can be reached."""
        while True:
            await asyncio.sleep(self._drain_pause_s)
            await asyncio.gather(*(meter.write_again() for meter in self._meters))
            await self._backlog.keep_room()
            SPOOL_LACKS_ROOM.set(self._backlog.lacks_room is not None)
            has_backlog = not self._backlog.is_empty()
            SPOOL_BACKLOG.set(has_backlog)
            SPOOL_BYTES.set(self._backlog.size())
            if has_backlog or any(meter.breaker.is_open for meter in self._meters):
                await self._drain()
            else:
                REDIS_FULL.set(0)
                self._admissions.spool_is_drained(self._admissions.closed_calls())

    async def _drain(self) -> None:
        try:
            sent = await self.drain_backlog()
        except (RedisError, OSError) as error:
            REDIS_FULL.set(isinstance(error, OutOfMemoryError))
            log.warning("spool.waiting", error=error)
        else:
            if sent:
                log.info("spool.drained", records=sent)

    async def drain_backlog(self) -> int:
        """Returns how many records Redis took. Raises RedisError or OSError if no shard answers."""
        return await self._spool.run()
