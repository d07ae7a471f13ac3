"""The worker's jobs. They raise `Retry` only: after any other exception arq drops the job."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn, TypeVar

import msgspec
import structlog
from arq import Retry

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.entries import Unpostable, accept
from libs.common.group_commit import GroupCommit
from libs.common.logging import describe_error
from libs.common.outbox import Outbox
from libs.common.schemas.correction import CorrectionOrder, RepriceOrder
from libs.common.schemas.usage import UsageEvent
from libs.common.storage.mongo.dead_letters import (
    DeadLetter,
    DeadLetterStore,
    LetterKind,
    new_letter,
)
from libs.common.storage.mongo.ledger import EntriesRefused
from libs.common.storage.queue.correction_queue import (
    ORDER_VERSION,
    decode_correction,
    decode_reprice,
)
from libs.common.storage.queue.event_queue import decode_event, split_batch
from libs.common.storage.redis.client import RedisError
from libs.common.storage.redis.holds import HoldStore
from services.ledger_worker.alerts.letters import alert_of_letter
from services.ledger_worker.corrector import Corrector
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.poster import Failures
from services.ledger_worker.recordings import RecordingKeeper

# The delay doubles with each try.
_FIRST_DELAY_S = 0.5
_MAX_DELAY_S = 30.0
# A job that MongoDB rejects is dead-lettered after some ten minutes; while MongoDB is unavailable,
# a job is retried without end.
_MAX_REFUSALS = 25

Order = TypeVar("Order", CorrectionOrder, RepriceOrder)

log = structlog.get_logger(__name__)


class _Ids(msgspec.Struct, frozen=True):
    """The fields of an event that releasing its hold needs."""

    call_id: str
    user_id: str


_decode_ids = msgspec.msgpack.Decoder(_Ids).decode


def retry_delay_s(tries: int) -> float:
    """With jitter, so that jobs do not all retry at once after an outage."""
    delay_s = min(_FIRST_DELAY_S * 2.0 ** min(tries - 1, 16), _MAX_DELAY_S)
    return delay_s * random.uniform(0.5, 1.0)


class Jobs:
    """`deadline_s` ends a try before another worker can claim the job as abandoned."""

    def __init__(
        self,
        *,
        commit: GroupCommit[Sequence[UsageEvent], Failures],
        dead_letters: DeadLetterStore,
        holds: HoldStore,
        corrector: Corrector,
        recordings: RecordingKeeper,
        outbox: Outbox,
        metrics: Metrics,
        deadline_s: float,
        now: Callable[[], datetime],
    ) -> None:
        self._commit = commit
        self._dead_letters = dead_letters
        self._holds = holds
        self._corrector = corrector
        self._recordings = recordings
        self._outbox = outbox
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._now = now

    async def post(self, ctx: dict[Any, Any], payload: bytes) -> None:
        """`events.post`: each event of the batch becomes an entry or a dead letter."""
        await self._try(ctx, self._post(payload, ctx["job_id"], ctx["job_try"]))

    async def post_together(self, payloads: Mapping[str, bytes]) -> set[str]:
        """First tries of `events.post`, by job id. Returns the ids of the jobs whose events are all
        posted; a job with a damaged or a rejected event has to be tried by itself.
        """
        events_of = {job_id: self._sound_events(raw) for job_id, raw in payloads.items()}
        events = [event for batch in events_of.values() for event in batch or ()]
        if not events:
            return set()
        try:
            async with asyncio.timeout(self._deadline_s):
                failures = await self._commit.commit(events)
        except asyncio.CancelledError:
            raise Retry(defer=_FIRST_DELAY_S) from None
        except Exception as error:  # noqa: BLE001 - as in _try
            self._postpone(error, tries=1, jobs=len(payloads))
        return {
            job_id
            for job_id, batch in events_of.items()
            if batch is not None and not any(event.call_id in failures for event in batch)
        }

    async def dead_letter(self, ctx: dict[Any, Any], job: bytes) -> None:
        """`events.bury`: stores a job of unknown form as a dead letter, whole."""
        letter = self._letter("job", job, ctx["job_id"], "not a job of this worker")
        await self._try(ctx, self._dead_letter(letter))

    async def correct(self, ctx: dict[Any, Any], payload: bytes) -> None:
        """`corrections.post`: posts an order of the admin service as an entry."""
        work = self._correct(payload, ctx["job_id"])
        await self._try(ctx, self._dead_letter_refused("correction", payload, ctx, work))

    async def reprice(self, ctx: dict[Any, Any], payload: bytes) -> None:
        """`corrections.reprice`: corrects entries to the price that is now valid for them."""
        work = self._reprice(payload, ctx["job_id"])
        await self._try(ctx, self._dead_letter_refused("reprice", payload, ctx, work))

    async def record(self, ctx: dict[Any, Any], payload: bytes) -> None:
        """`recordings.store`: stores recordings; the ledger does not depend on them."""
        await self._try(ctx, self._recordings.keep(payload, ctx["job_id"], ctx["job_try"]))

    async def _try(self, ctx: dict[Any, Any], work: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(self._deadline_s):
                await work
        except asyncio.CancelledError:
            # The worker stops, or was suspended for longer than arq's own timeout, after which arq
            # would drop the job.
            raise Retry(defer=_FIRST_DELAY_S) from None
        except Exception as error:  # noqa: BLE001 - anything else would drop the job
            self._postpone(error, tries=ctx["job_try"], job_id=ctx["job_id"])

    def _postpone(
        self, error: Exception, *, tries: int, jobs: int = 1, job_id: str | None = None
    ) -> NoReturn:
        delay_s = retry_delay_s(tries)
        self._metrics.retries.inc(jobs)
        log.warning(
            "jobs.postponed",
            job_id=job_id,
            jobs=jobs,
            tries=tries,
            error=error,
            next_try_s=round(delay_s, 1),
        )
        raise Retry(defer=delay_s) from None

    def _sound_events(self, payload: bytes) -> list[UsageEvent] | None:
        """None if the batch, or an event of it, cannot be posted."""
        try:
            results = [self._decode(raw) for raw in split_batch(payload)]
        except UNREADABLE:
            return None
        events = [event for event in results if isinstance(event, UsageEvent)]
        return events if len(events) == len(results) else None

    async def _post(self, payload: bytes, job_id: str, tries: int) -> None:
        try:
            raws = split_batch(payload)
        except UNREADABLE as error:
            await self._dead_letter(self._letter("batch", payload, job_id, describe_error(error)))
            return
        accepted: list[tuple[UsageEvent, bytes]] = []
        for raw in raws:
            match self._decode(raw):
                case UsageEvent() as event:
                    accepted.append((event, raw))
                case Unpostable(reason):
                    await self._dead_letter(self._letter("event", raw, job_id, reason))
        if accepted:
            await self._post_accepted(accepted, job_id, tries)

    def _decode(self, raw: bytes) -> UsageEvent | Unpostable:
        try:
            event = decode_event(raw)
        except UNREADABLE as error:
            return Unpostable(describe_error(error))
        return accept(event, self._now())

    async def _post_accepted(
        self, accepted: Sequence[tuple[UsageEvent, bytes]], job_id: str, tries: int
    ) -> None:
        failures = await self._commit.commit([event for event, _ in accepted])
        retry_error: EntriesRefused | RedisError | None = None
        for event, raw in accepted:
            match failures.get(event.call_id):
                case None:
                    pass
                case Unpostable(reason):
                    await self._dead_letter(self._letter("event", raw, job_id, reason))
                case EntriesRefused() as error if tries >= _MAX_REFUSALS:
                    await self._dead_letter(self._letter("event", raw, job_id, str(error)))
                case error:
                    retry_error = error
        if retry_error is not None:
            raise retry_error

    async def _dead_letter_refused(
        self,
        kind: LetterKind,
        payload: bytes,
        ctx: dict[Any, Any],
        work: Coroutine[Any, Any, None],
    ) -> None:
        try:
            await work
        except EntriesRefused as error:
            if ctx["job_try"] < _MAX_REFUSALS:
                raise
            await self._dead_letter(self._letter(kind, payload, ctx["job_id"], str(error)))

    async def _correct(self, payload: bytes, job_id: str) -> None:
        order = _order(payload, decode_correction)
        if isinstance(order, CorrectionOrder):
            fault = await self._corrector.correct(order)
        else:
            fault = order
        if fault is not None:
            await self._dead_letter(self._letter("correction", payload, job_id, fault.reason))

    async def _reprice(self, payload: bytes, job_id: str) -> None:
        order = _order(payload, decode_reprice)
        if isinstance(order, Unpostable):
            await self._dead_letter(self._letter("reprice", payload, job_id, order.reason))
            return
        await self._corrector.reprice(order.entry_ids, reason=order.reason, made_by=order.made_by)

    def _letter(self, kind: LetterKind, raw: bytes, job_id: str, reason: str) -> DeadLetter:
        ids = _ids_of(raw) if kind == "event" else None
        return new_letter(
            kind,
            raw,
            reason=reason,
            job_id=job_id,
            buried_at=self._now(),
            call_id=None if ids is None else ids.call_id,
            user_id=None if ids is None else ids.user_id,
        )

    async def _dead_letter(self, letter: DeadLetter) -> None:
        """Stores the letter, alerts of it, and releases its call's hold, since no entry will."""
        if await self._dead_letters.add(letter):
            self._metrics.dead_letters.labels(letter.kind).inc()
            log.error(
                "dead_letter.stored",
                letter_id=letter.letter_id,
                kind=letter.kind,
                reason=letter.reason,
                job_id=letter.job_id,
                call_id=letter.call_id,
                user_id=letter.user_id,
            )
        # Each time, since a worker may have died after it had stored the letter.
        await self._outbox.add([alert_of_letter(letter)])
        if letter.user_id is not None and letter.call_id is not None:
            await self._holds.settle(letter.user_id, [letter.call_id], ())


def _order(payload: bytes, decode: Callable[[bytes], Order]) -> Order | Unpostable:
    try:
        order = decode(payload)
    except UNREADABLE as error:
        return Unpostable(describe_error(error))
    return order if order.v == ORDER_VERSION else Unpostable(f"version {order.v} is unknown")


def _ids_of(raw: bytes) -> _Ids | None:
    try:
        return _decode_ids(raw)
    except UNREADABLE:
        return None
