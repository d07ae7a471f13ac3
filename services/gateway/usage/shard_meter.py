"""Makes the usage events of one shard's accounts durable; see `meter`.

Shards have nothing in common but the spool: what one waits for holds up no other.
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
from libs.common.group_commit import GroupCommit
from libs.common.logging import describe_error
from libs.common.storage.provider_objects import remember
from libs.common.storage.queue.event_queue import Queue, encode_batch, enqueue_batch
from libs.common.storage.redis.client import NoScriptError, OutOfMemoryError, RedisError
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.pipelining import NotReplicated, Transaction
from services.gateway.admission.admissions import Admissions
from services.gateway.metrics import EVENTS_SPOOLED, REDIS_FULL
from services.gateway.spool.backlog import Backlog, Metered, as_spooled
from services.gateway.spool.spool import SpoolFull

log = structlog.get_logger(__name__)
_MAX_BATCH = 200
_MAX_WAITING = 10_000
_RETRY_PAUSE_S = 0.25


class ShardMeter:
    """Enqueues events in the shard's queue, each with its hold's release, else in the spool."""

    def __init__(
        self,
        holds: HoldStore,
        queue: Queue,
        backlog: Backlog,
        breaker: Breaker,
        admissions: Admissions,
        *,
        client_wait_s: float,
    ) -> None:
        self.breaker = breaker
        self._client_wait_s = client_wait_s
        self._admissions = admissions
        self._holds = holds
        self._queue = queue
        self._backlog = backlog
        self._commits: GroupCommit[Metered, None] = GroupCommit(
            self._write, max_items=_MAX_BATCH, max_waiting=_MAX_WAITING
        )
        # Waits for its turn, and returns when the event is durable.
        self.commit = self._commits.commit
        # Does not wait.
        self.submit = self._commits.submit
        # The time since which neither Redis nor the spool has taken an event.
        self._failing_since: float | None = None
        # The number of events in the write under way, and the batches whose clients got an error.
        self._trying = 0
        self._unwritten: deque[Sequence[Metered]] = deque()
        self._give_up_at = math.inf

    @property
    def may_lose(self) -> bool:
        """Whether an event of another call might find no room: events wait in memory, or Redis is
        away and the rest of the spool is reserved for calls under way.
        """
        return self._failing_since is not None or (
            self.breaker.is_open and self._backlog.lacks_room is not None
        )

    def in_memory(self) -> int:
        """How many events neither Redis nor the spool has taken, although they were tried."""
        if self._failing_since is None:
            return 0
        return self._trying + self._commits.waiting + sum(map(len, self._unwritten))

    async def close(self, within_s: float) -> None:
        """Retries until the time is over, then logs the events that are left."""
        self._give_up_at = monotonic() + within_s
        await self._commits.close()
        while self._unwritten and monotonic() < self._give_up_at:
            await self.write_again()
            await asyncio.sleep(_RETRY_PAUSE_S if self._unwritten else 0)
        for metered in (each for batch in self._unwritten for each in batch):
            log.critical(
                "usage.lost",
                call_id=metered.event.call_id,
                user_id=metered.event.user_id,
                record=b64encode(as_spooled(metered)).decode(),
            )

    async def write_again(self) -> None:
        """Retries batches whose clients got an error; their events still belong in the ledger."""
        while self._unwritten and await self._try(self._unwritten[0]) is None:
            for metered in self._unwritten.popleft():
                finished = metered.finished
                cost_nusd = 0 if finished is None else finished.cost_nusd
                self._admissions.close_call(metered.event.call_id, cost_nusd)

    async def send(self, payload: bytes, batch: Sequence[Metered]) -> None:
        """Enqueues the batch, of which `payload` are the events. Raises RedisError or OSError."""
        try:
            await self._transact(payload, batch)
        except NoScriptError:
            # A restarted Redis has lost the scripts; sending the batch again is harmless.
            await self._holds.load_scripts()
            await self._transact(payload, batch)

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

    async def _try(self, batch: Sequence[Metered]) -> SpoolFull | OSError | None:
        """Writes to Redis, else to the spool. Returns the error if neither takes the batch."""
        error = await self._try_redis(batch)
        if error is not None:
            try:
                await self._backlog.add(batch)
            except (SpoolFull, OSError) as spool_error:
                if self._failing_since is None:
                    log.critical("usage.not_durable", redis=error, spool=spool_error)
                return spool_error
            EVENTS_SPOOLED.inc(len(batch))
        if self._failing_since is not None and not self._unwritten:
            log.warning("usage.durable", after_s=round(monotonic() - self._failing_since, 1))
        self._failing_since = None
        return None

    async def _try_redis(self, batch: Sequence[Metered]) -> str | None:
        if not self.breaker.allows():
            return "away a moment ago"
        try:
            await self.send(encode_batch([metered.event for metered in batch]), batch)
        except NotReplicated as error:
            # Redis is there: calls are still admitted by it.
            log.warning("usage.not_replicated", error=error)
            return describe_error(error)
        except (RedisError, OSError) as error:
            self.breaker.failed()
            REDIS_FULL.set(isinstance(error, OutOfMemoryError))
            log.warning("usage.spooling", error=error)
            return describe_error(error)
        self.breaker.succeeded()
        return None

    async def _transact(self, payload: bytes, batch: Sequence[Metered]) -> None:
        """Each try is a new job, so that a hold which it takes again is settled again."""
        transaction = Transaction()
        for metered in batch:
            if metered.finished is not None:
                self._holds.finish(transaction, metered.finished)
            remember(transaction, self._holds.shards, metered.event)
        enqueue_batch(transaction, self._queue, urandom(16).hex(), payload)
        await self._holds.transact(transaction)
