"""Sends what the spool has to Redis. Records of shards that are away wait; the others go on."""

import asyncio
from collections.abc import Sequence

import msgspec
import structlog

from libs.common.schemas.holds import OpenHold
from libs.common.storage.queue.event_queue import encode_raw_batch, split_batch
from libs.common.storage.redis.client import OutOfMemoryError, RedisError
from libs.common.storage.redis.holds import HoldStore
from services.gateway.admission.admissions import Admissions
from services.gateway.metrics import REDIS_FULL
from services.gateway.spool.backlog import Backlog, BacklogRecord, Metered
from services.gateway.usage.shard_meter import ShardMeter

log = structlog.get_logger(__name__)
_NOTHING: frozenset[int] = frozenset()


class _Part(msgspec.Struct, frozen=True):
    """What a record has for one shard."""

    holds: list[OpenHold] = []
    raws: list[bytes] = []
    batch: list[Metered] = []


class SpoolDrain:
    """One run at a time."""

    def __init__(
        self,
        holds: HoldStore,
        backlog: Backlog,
        meters: Sequence[ShardMeter],
        admissions: Admissions,
    ) -> None:
        """`meters` by shard."""
        self._holds = holds
        self._shards = holds.shards
        self._backlog = backlog
        self._meters = meters
        self._admissions = admissions
        # The shards that did not answer in this run, and why.
        self._away: dict[int, RedisError | OSError] = {}

    async def run(self) -> int:
        """Also probes Redis, since no call does so while none may begin.

        Returns how many records were sent. Raises RedisError or OSError if no shard answers.
        """
        closed_calls = self._admissions.closed_calls()
        self._away = {}
        if len(self._meters) > 1:
            # It also finds the masters: a replica may just have become one.
            await asyncio.gather(*map(self._probe, range(len(self._meters))))
        # A restarted Redis lacks the scripts, as a new master does; each batch should be sent once.
        await self._holds.load_scripts()
        sent = await self._backlog.drain(self._unspool, self._dead_letter, self._may_go)
        for shard, meter in enumerate(self._meters):
            if shard not in self._away:
                meter.breaker.succeeded()
        self._admissions.spool_is_drained(closed_calls, except_shards=self._away)
        if self._away:
            self._report_away()
        return sent

    def _report_away(self) -> None:
        errors = list(self._away.values())
        REDIS_FULL.set(any(isinstance(error, OutOfMemoryError) for error in errors))
        log.warning("spool.waiting", shards=sorted(self._away), error=errors[0])

    async def _probe(self, shard: int) -> None:
        try:
            await self._holds.probe(shard)
        except (RedisError, OSError) as error:
            self._mark_away(shard, error)

    def _mark_away(self, shard: int, error: RedisError | OSError) -> None:
        """Raises the error if no shard is left."""
        self._away[shard] = error
        if len(self._away) == len(self._meters):
            raise error

    def _may_go(self, pending_shards: frozenset[int]) -> bool:
        return not pending_shards <= self._away.keys()

    async def _unspool(self, record: BacklogRecord, batch: Sequence[Metered]) -> frozenset[int]:
        """Takes the holds again, then enqueues the batch, whose posting releases them."""
        pending_shards = set()
        for shard, part in self._parts_of(record, batch).items():
            if shard not in self._away:
                try:
                    await self._send(shard, record.process, part)
                    continue
                except (RedisError, OSError) as error:
                    self._mark_away(shard, error)
            pending_shards.add(shard)
        return frozenset(pending_shards) if pending_shards else _NOTHING

    def _parts_of(self, record: BacklogRecord, batch: Sequence[Metered]) -> dict[int, _Part]:
        """By shard. A batch was of one, unless it was written with another number of shards."""
        parts: dict[int, _Part] = {}
        for hold in record.holds:
            parts.setdefault(self._shards.of(hold.user_id), _Part()).holds.append(hold)
        raws = split_batch(record.payload) if batch else ()
        for raw, metered in zip(raws, batch, strict=True):
            part = parts.setdefault(self._shards.of(metered.event.user_id), _Part())
            part.raws.append(raw)
            part.batch.append(metered)
        return parts

    async def _send(self, shard: int, process: str, part: _Part) -> None:
        for hold in part.holds:
            # A closed call of this process has its event on the queue. A call of a dead process
            # may have one too; then that event wins, and the hold does no harm.
            if process != self._backlog.process or self._admissions.is_open(hold.call_id):
                await self._holds.announce_account(hold.user_id)
                await self._holds.retake(hold)
                self._admissions.redis_has_hold(hold.call_id)
        if part.batch:
            await self._meters[shard].send(encode_raw_batch(part.raws), part.batch)

    async def _dead_letter(self, record: bytes) -> frozenset[int]:
        """Enqueues a record that cannot be read: the worker moves it to the dead letters."""
        shard = next(n for n in range(len(self._meters)) if n not in self._away)
        try:
            await self._meters[shard].send(record, ())
        except (RedisError, OSError) as error:
            self._mark_away(shard, error)
            return frozenset((shard,))
        return _NOTHING
