"""Usage events on local disk while Redis cannot be reached, and the room for those that may come.

A spool file has records (`records`), then zeros: blocks that are allocated already, so that a disk
which fills up cannot take the room of calls under way. Records are written with fdatasync and
drained in order; the file is removed when all were sent, and kept aside if it cannot be read to its
end. Records of shards that are away let the others pass.

Each process writes its own file and holds a lock on it, so that replicas may share a directory and
adopt the files of dead ones (`directory`).
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import structlog

from libs.common.tasks import outlast
from services.gateway.spool.directory import SpoolDirectory, is_hidden, open_locked
from services.gateway.spool.file_drain import FileDrain, MayGo, SendRecords
from services.gateway.spool.records import record_of, write_at

log = structlog.get_logger(__name__)
# A file grows by this much at a time, or by a part of the bound, to leave some to other processes.
_STEP, _STEPS = 1024 * 1024, 16
_MIN_SLACK = 4096


class SpoolFull(Exception):
    """The spool has reached its bound; nothing more can be made durable."""


class Spool:
    """`max_bytes` bounds the whole directory: every process' files, and those kept aside."""

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self._directory = SpoolDirectory(directory)
        self._max_bytes = max_bytes
        self._step = max(1, min(_STEP, max_bytes // _STEPS))
        # Free beyond what is reserved, for calls that begin before the next look at it.
        self._slack = max(_MIN_SLACK, self._step // 4)
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        # Where the next record goes, and where the allocated blocks end.
        self._end = 0
        self._size = 0
        # Bytes promised to calls under way. Counted on the event loop only.
        self._reserved = 0
        self._lock = asyncio.Lock()
        self._drains: dict[Path, FileDrain] = {}
        self.lacks_room: str | None = None

    def open(self) -> None:
        """Raises OSError if the directory cannot be written, at start rather than in an outage."""
        self._directory.make()
        self._grow_if_needed()

    def is_empty(self) -> bool:
        """False while a record of this or another process waits."""
        return not self._directory.files()

    def size(self) -> int:
        """Bytes of the directory that count against `max_bytes`."""
        return self._directory.size()

    def reserve(self, size: int) -> None:
        """Reserves bytes for a call; a negative size releases them. `keep_room` allocates them."""
        self._reserved += size

    async def append(self, payload: bytes, *, from_reserve: bool = False) -> None:
        """Returns when the payload is on disk. Raises SpoolFull or OSError.

        `from_reserve` allows it to use reserved room if no other is left.
        """
        async with self._lock:
            await _in_thread(self._append, payload, from_reserve)

    async def keep_room(self) -> None:
        """Allocates what is reserved, or sets `lacks_room` to why it could not."""
        if self._size < self._end + self._reserved + self._slack:
            async with self._lock:
                await _in_thread(self._grow_if_needed)

    async def drain(self, send: SendRecords, may_go: MayGo) -> int:
        """Sends every record, oldest file first; stops at the first for which `send` raises.

        Returns how many were sent. A record may be sent again after a crash, never lost.
        """
        async with self._lock:
            sent, files = 0, self._directory.files()
            self._drains = {path: self._drains.get(path) or FileDrain() for path in files}
            for path, drain in self._drains.items():
                is_own = path == self._path
                file = path.open("rb") if is_own else open_locked(path)
                if file is None:
                    continue
                with file:
                    sent += await drain.resume(file, send, may_go)
                    if not drain.waits:
                        _put_away(path, drain)
                if is_own and (drain.damage or not drain.waits):
                    await _in_thread(self._start_again)
            return sent

    def close(self) -> None:
        """Leaves the records to the process that starts next."""
        if self._file is not None and self._path is not None:
            with suppress(OSError):
                if self._end == 0:
                    self._path.unlink(missing_ok=True)
                else:
                    os.ftruncate(self._file.fileno(), self._end)
        self._close_file()

    def _append(self, payload: bytes, from_reserve: bool) -> None:
        if not payload:
            raise ValueError("a record without a payload could not be told from free room")
        record = record_of(payload)
        try:
            self._grow(self._end + len(record) + self._reserved)
        except (SpoolFull, OSError) as error:
            self._log_lack_of_room(error)
            if not from_reserve or self._end + len(record) > self._size:
                raise
        file = self._visible_file()
        try:
            write_at(file, record, self._end)
        except OSError:
            self._wipe(file, len(record))
            raise
        self._end += len(record)

    def _grow_if_needed(self) -> None:
        try:
            self._grow(self._end + self._reserved + self._slack)
        except (SpoolFull, OSError) as error:
            self._log_lack_of_room(error)
        else:
            self.lacks_room = None

    def _log_lack_of_room(self, error: Exception) -> None:
        if self.lacks_room is None:
            log.error("spool.lacks_room", error=error)
        self.lacks_room = str(error)

    def _grow(self, size: int) -> None:
        """Raises SpoolFull or OSError without having changed anything."""
        if size <= self._size:
            return
        with self._directory.alone():
            limit = self._max_bytes - self._directory.size(except_path=self._path)
            if size > limit:
                raise SpoolFull(f"the spool's files may hold {self._max_bytes} bytes")
            if self._file is None:
                self._file, self._path = self._directory.make_room()
            file = self._file
            rounded_size = min(-(-size // self._step) * self._step, limit)
            for new_size in (rounded_size, size):
                try:
                    os.posix_fallocate(file.fileno(), self._size, new_size - self._size)
                    os.fsync(file.fileno())
                except OSError:
                    os.ftruncate(file.fileno(), self._size)
                    if new_size == size:
                        raise
                else:
                    self._size = new_size
                    return

    def _visible_file(self) -> BinaryIO:
        """The file, where other processes find it."""
        if self._file is None or self._path is None:
            raise AssertionError("a record without room")
        if is_hidden(self._path):
            self._path = self._directory.show(self._path)
            self._directory.sync()
        return self._file

    def _start_again(self) -> None:
        """The file was removed, or takes no more; calls under way need room in a new one."""
        self._close_file()
        self._grow_if_needed()

    def _wipe(self, file: BinaryIO, size: int) -> None:
        """Zeros what a failed write left, or closes the file: a record must not follow it."""
        with suppress(OSError):
            write_at(file, bytes(size), self._end)
        if any(os.pread(file.fileno(), size, self._end)):
            # The next record begins a file of its own.
            self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
        self._path = None
        self._end = 0
        self._size = 0


async def _in_thread(work: Callable[..., None], *arguments: object) -> None:
    """Waits for the thread's end even if the caller is cancelled, since it uses the file."""
    await outlast(asyncio.ensure_future(asyncio.to_thread(work, *arguments)))


def _put_away(path: Path, drain: FileDrain) -> None:
    """The file has no record that waits."""
    if drain.damage is None:
        # Another process may have removed it.
        path.unlink(missing_ok=True)
        return
    # A crash most likely cut short its last record, which was then never acknowledged. If there is
    # more behind it, an operator should look at the file.
    log.error("spool.damaged", file=str(path), offset=drain.damage.offset)
    path.rename(path.with_suffix(".damaged"))
