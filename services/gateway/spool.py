"""Usage events on local disk while Redis cannot be reached.

A file of records, each `length, CRC-32, payload`; appended with fsync, drained from the start in
order, and removed when nothing is left. Each process writes a file of its own and holds a lock on
it, so that replicas may share a directory and adopt what a dead one left behind.
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


class Spool:
    """Bounded by `max_bytes` for this process' file."""

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._file: BinaryIO | None = None
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
            self._close()
            for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
                file = _locked(path)
                if file is None:
                    continue
                with file:
                    for payload in _records(file):
                        await send(payload)
                        sent += 1
                    path.unlink()
            return sent

    def _append(self, payload: bytes) -> None:
        record = _HEADER.pack(len(payload), zlib.crc32(payload)) + payload
        if self._size + len(record) > self._max_bytes:
            raise SpoolFull(f"the spool holds {self._size} bytes already")
        if self._file is None:
            # Names sort by age: a UUID keeps two processes of the same instant apart.
            name = f"{time_ns():020d}-{uuid4().hex}{_SUFFIX}"
            self._file = (self._directory / name).open("ab", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            _sync_directory(self._directory)
        self._file.write(record)
        os.fsync(self._file.fileno())
        self._size += len(record)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
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


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Ends at a record that a crash cut short: it was never acknowledged."""
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            return
        length, checksum = _HEADER.unpack(header)
        payload = file.read(length)
        if len(payload) < length or zlib.crc32(payload) != checksum:
            log.error("spool.damaged_record", file=file.name, offset=file.tell())
            return
        yield payload


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
