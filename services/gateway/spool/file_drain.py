"""Sends a spool file's records in order. Those of shards that are away wait; the others go on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import BinaryIO

from services.gateway.spool.records import HEADER_BYTES, Unreadable, record_at, records_of

# Sends a record. Returns the shards whose part of it could not be sent: none, and it is done.
SendRecords = Callable[[bytes], Awaitable[frozenset[int]]]
# Whether a record that waits for these shards is worth another try.
MayGo = Callable[[frozenset[int]], bool]


class FileDrain:
    """Which of a file's records wait, and how far it is read.

    Only this process knows: after a crash all are sent again.
    """

    def __init__(self) -> None:
        # Pairs of a record's offset and the shards that it waits for.
        self._waiting: list[tuple[int, frozenset[int]]] = []
        self._read_to = 0
        # Set where a record is cut short or damaged.
        self.damage: Unreadable | None = None

    @property
    def waits(self) -> bool:
        """Whether the file has a record that was read and not sent."""
        return bool(self._waiting)

    async def resume(self, file: BinaryIO, send: SendRecords, may_go: MayGo) -> int:
        """Returns how many records were sent. Raises what `send` raises; the next call begins with
        that record.
        """
        return await self._try_again(file, send, may_go) + await self._read_on(file, send)

    async def _try_again(self, file: BinaryIO, send: SendRecords, may_go: MayGo) -> int:
        tried = sent = 0
        remaining: list[tuple[int, frozenset[int]]] = []
        try:
            for offset, earlier_shards in self._waiting:
                pending_shards = earlier_shards
                if may_go(earlier_shards):
                    pending_shards = await send(record_at(file, offset))
                if pending_shards:
                    remaining.append((offset, pending_shards))
                else:
                    sent += 1
                tried += 1
        except Unreadable as error:
            # It could be read before.
            self.damage, tried = error, tried + 1
        finally:
            self._waiting = remaining + self._waiting[tried:]
        return sent

    async def _read_on(self, file: BinaryIO, send: SendRecords) -> int:
        sent = 0
        try:
            for payload in records_of(file, self._read_to):
                pending_shards = await send(payload)
                if pending_shards:
                    self._waiting.append((self._read_to, pending_shards))
                    # What is not sent does not wait for Redis, and must not stop other work.
                    await asyncio.sleep(0)
                else:
                    sent += 1
                self._read_to += HEADER_BYTES + len(payload)
        except Unreadable as error:
            self.damage = error
        return sent
