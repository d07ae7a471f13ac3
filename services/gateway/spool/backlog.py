"""Events and holds on local disk that Redis does not have yet.

The hold of a call that is admitted while Redis is away is recorded here before the call is
forwarded. If the gateway dies before Redis is back, the process that adopts its spool takes the
hold; the lease then expires, and the call becomes an `abandoned` entry.
"""

from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

import msgspec
import structlog

from libs.common.decode_errors import UNREADABLE
from libs.common.errors import NothingRecordable
from libs.common.group_commit import GroupCommit
from libs.common.schemas.holds import Finished, OpenHold
from libs.common.schemas.usage import UsageEvent
from libs.common.storage.queue.event_queue import (
    decode_event,
    encode_batch,
    split_batch,
)
from services.gateway.spool.file_drain import MayGo, SendRecords
from services.gateway.spool.records import record_of
from services.gateway.spool.spool import Spool, SpoolFull

log = structlog.get_logger(__name__)
_MAX_BATCH = 200
_MAX_WAITING = 10_000
# The size of an event with names of full length, but for its tags: clients give each call as many.
# An event with dozens of objects is longer, and uses room that other calls leave.
_EVENT_ROOM = 4096
# Before the text of a tag.
_TAG_HEAD = 3
_RETRY_AFTER_S = 5


class Metered(msgspec.Struct, frozen=True):
    """An event, and the change to its hold; None if the call held nothing."""

    event: UsageEvent
    finished: Finished | None


class BacklogRecord(msgspec.Struct, frozen=True):
    """A batch of events, each with the change to its hold; or holds, with their process."""

    payload: bytes = b""
    finished: tuple[Finished | None, ...] = ()
    holds: tuple[OpenHold, ...] = ()
    process: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(BacklogRecord).decode


class Backlog:
    """Encodes and decodes the spool's records. `process` marks the holds of this process."""

    def __init__(self, spool: Spool) -> None:
        self.process = uuid4().hex
        self._spool = spool
        self._hold_writes: GroupCommit[OpenHold, None] = GroupCommit(
            self._write, max_items=_MAX_BATCH, max_waiting=_MAX_WAITING
        )

    def is_empty(self) -> bool:
        return self._spool.is_empty()

    def size(self) -> int:
        """Bytes on disk, allocated room included."""
        return self._spool.size()

    @property
    def lacks_room(self) -> str | None:
        """Why the events of calls under way might not fit; None if they do."""
        return self._spool.lacks_room

    def reserve(self, tags: Sequence[str]) -> None:
        """Reserves room for the event of an admitted call with these tags, until `release`."""
        self._spool.reserve(_room_for(tags))

    def release(self, tags: Sequence[str]) -> None:
        self._spool.reserve(-_room_for(tags))

    async def keep_room(self) -> None:
        """Allocates what is reserved on disk, as far as the disk allows."""
        await self._spool.keep_room()

    async def add(self, batch: Sequence[Metered]) -> None:
        """Writes events, in their reserved room if need be. Raises SpoolFull or OSError."""
        await self._spool.append(_encode(_record(batch)), from_reserve=True)

    async def record_hold(self, hold: OpenHold) -> None:
        """Writes the hold of a call that is about to be forwarded.

        Raises NothingRecordable; the call must then not be forwarded.
        """
        try:
            await self._hold_writes.commit(hold)
        except (SpoolFull, OSError) as error:
            log.critical("hold.not_recorded", call_id=hold.call_id, error=error)
            raise cannot_record() from error

    async def drain(
        self,
        send: Callable[[BacklogRecord, Sequence[Metered]], Awaitable[frozenset[int]]],
        dead_letter: SendRecords,
        may_go: MayGo,
    ) -> int:
        """Returns how many records were sent; `dead_letter` gets those that cannot be read.

        Stops at the first for which one of them raises; the next call begins with it. Both return
        the shards whose part of the record has to wait.
        """

        async def send_or_dead_letter(raw: bytes) -> frozenset[int]:
            try:
                record = _decode(raw)
                batch = _batch_of(record)
            except UNREADABLE as error:
                log.error("spool.unreadable", error=error)
                return await dead_letter(raw)
            return await send(record, batch)

        return await self._spool.drain(send_or_dead_letter, may_go)

    async def _write(self, holds: Sequence[OpenHold]) -> Sequence[None]:
        await self._spool.append(_encode(BacklogRecord(holds=tuple(holds), process=self.process)))
        return [None] * len(holds)


def cannot_record() -> NothingRecordable:
    """The refusal of a call whose usage could not be recorded."""
    return NothingRecordable(
        "The gateway cannot record usage at the moment, so it refuses calls. Try again soon.",
        retry_after_s=_RETRY_AFTER_S,
    )


def as_spooled(metered: Metered) -> bytes:
    """The bytes of an event in a spool file; a spool that contains them posts the event."""
    return record_of(_encode(_record([metered])))


def _record(batch: Sequence[Metered]) -> BacklogRecord:
    payload = encode_batch([metered.event for metered in batch])
    return BacklogRecord(payload, tuple(metered.finished for metered in batch))


def _batch_of(record: BacklogRecord) -> list[Metered]:
    """Raises one of UNREADABLE."""
    if not record.payload:
        return []
    events = [decode_event(raw) for raw in split_batch(record.payload)]
    return [Metered(*row) for row in zip(events, record.finished, strict=True)]


def _room_for(tags: Sequence[str]) -> int:
    if not tags:
        return _EVENT_ROOM
    return _EVENT_ROOM + sum(_TAG_HEAD + len(tag.encode()) for tag in tags)
