"""Usage events on local disk while Redis cannot be reached.

A file of records, each `length, CRC-32, payload`; appended with fsync, drained from the start in
order, and removed when all were sent; one that cannot be read to its end is kept aside. Each
process writes a file of its own and holds a lock on it, so that replicas may share a directory and
adopt what a dead one left behind.
"""

import asyncio
import fcntl
import os
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import time_ns
from typing import BinaryIO
from uuid import uuid4

import structlog

log = structlog.get_logger(__name__)
_HEADER = struct.Struct(">II")
_SUFFIX = ".spool"


class SpoolFull(Exception):
    """The spool has reached its bound; nothing more can be made durable."""


class _Unreadable(Exception):
    """The record at `offset` cannot be read, and where the next one begins is not known."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class Spool:
    """Bounded by `max_bytes` for this process' file."""

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._size = 0
        self._lock = asyncio.Lock()

    def open(self) -> None:
        """Raises OSError where the directory cannot be written: better at start than in need."""
        self._directory.mkdir(parents=True, exist_ok=True)
        probe = self._directory / f".{uuid4().hex}"
        probe.write_bytes(b"")
        probe.unlink()

    def is_empty(self) -> bool:
        """Whether anything waits, from this process or from a dead one."""
        return not any(self._directory.glob(f"*{_SUFFIX}"))

    async def append(self, payload: bytes) -> None:
        """Returns when the payload is on disk. Raises SpoolFull or OSError."""
        async with self._lock:
            await asyncio.to_thread(self._append, payload)

    async def drain(self, send: Callable[[bytes], Awaitable[None]]) -> int:
        """Sends every record, oldest file first; stops at the first that `send` cannot send.

        Returns how many were sent. A record may be sent again after a crash, never lost.
        """
        async with self._lock:
            sent = 0
            for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
                is_own = path == self._path
                file = path.open("rb") if is_own else _locked(path)
                if file is None:
                    continue
                with file:
                    sent += await _send_all(path, file, send)
                if is_own:
                    self._close()
            return sent

    def _append(self, payload: bytes) -> None:
        record = _HEADER.pack(len(payload), zlib.crc32(payload)) + payload
        if self._size + len(record) > self._max_bytes:
            raise SpoolFull(f"the spool holds {self._size} bytes already")
        file = self._create() if self._file is None else self._file
        try:
            # A disk that fills up takes a part of a write without an error.
            rest = memoryview(record)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            self._cut_back(file)
            raise
        self._size += len(record)

    def _create(self) -> BinaryIO:
        # Names sort by age: a UUID keeps two processes of the same instant apart.
        name = f"{time_ns():020d}-{uuid4().hex}"
        nascent = self._directory / f".{name}.new"
        file = nascent.open("ab", buffering=0)
        try:
            # Before it is locked nobody may see it: whoever drains it would delete it.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._path = nascent.rename(self._directory / f"{name}{_SUFFIX}")
            _sync_directory(self._directory)
        except OSError:
            file.close()
            raise
        self._file = file
        return file

    def _cut_back(self, file: BinaryIO) -> None:
        """What a failed write left must not stand before the next record."""
        try:
            os.ftruncate(file.fileno(), self._size)
        except OSError:
            # The next record begins a file of its own.
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
        self._path = None
        self._size = 0

    def close(self) -> None:
        """Leaves the file where it is, for whoever starts next."""
        self._close()


def _locked(path: Path) -> BinaryIO | None:
    """The file, open and locked; None while another process still writes it."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


async def _send_all(path: Path, file: BinaryIO, send: Callable[[bytes], Awaitable[None]]) -> int:
    """Sends the file's records and removes it; how many were sent."""
    sent = 0
    try:
        for payload in _records(file):
            await send(payload)
            sent += 1
    except _Unreadable as error:
        log.error("spool.damaged", file=str(path), offset=error.offset, sent=sent)
        _keep_aside(path)
    else:
        _remove(path)
    return sent


def _keep_aside(path: Path) -> None:
    # Most likely a crash cut short its last record, which then was never acknowledged; if there is
    # more behind it, somebody will want to look.
    path.rename(path.with_suffix(".damaged"))


def _remove(path: Path) -> None:
    # Another process may have been faster.
    path.unlink(missing_ok=True)


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Raises _Unreadable at a record that is cut short or damaged."""
    offset = 0
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            raise _Unreadable(offset)
        length, checksum = _HEADER.unpack(header)
        payload = file.read(length)
        if len(payload) < length or zlib.crc32(payload) != checksum:
            raise _Unreadable(offset)
        offset += _HEADER.size + length
        yield payload


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
