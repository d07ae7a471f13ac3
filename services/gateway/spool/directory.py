"""The spool's directory, which processes share: who may measure, make, adopt and remove its files.

A file that is locked belongs to a process that lives. A file without records is hidden: it is only
room.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep, time_ns
from typing import BinaryIO
from uuid import uuid4

_SUFFIX = ".spool2"
# `.spool` files are those of older releases, which do not end in zeros.
_SUFFIXES = (_SUFFIX, ".spool")
_ROOM_SUFFIX = ".room"
# A process locks the directory for milliseconds, unless it is paused while it does.
_LOCK_WAIT_S = 2.0
_LOCK_PAUSE_S = 0.01


class SpoolDirectory:
    """`path` is the directory's."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def make(self) -> None:
        """Makes it, without the rooms of processes that died. Raises OSError if it cannot be
        written.
        """
        self._path.mkdir(parents=True, exist_ok=True)
        probe = self._path / f".{uuid4().hex}"
        probe.write_bytes(b"")
        probe.unlink()
        with self.alone():
            for path in self._path.glob(f".*{_ROOM_SUFFIX}"):
                file = open_locked(path)
                if file is not None:
                    with file:
                        path.unlink(missing_ok=True)

    def files(self) -> list[Path]:
        """Those with records, the oldest first."""
        paths = (path for path in self._path.iterdir() if path.suffix in _SUFFIXES)
        return sorted(path for path in paths if not path.name.startswith("."))

    def size(self, *, except_path: Path | None = None) -> int:
        size = 0
        for path in self._path.iterdir():
            if path != except_path:
                # Another process may have removed it.
                with suppress(FileNotFoundError):
                    size += path.stat().st_size
        return size

    def make_room(self) -> tuple[BinaryIO, Path]:
        """A hidden file. It is locked at once: other processes remove unlocked ones."""
        path = self._path / f".{uuid4().hex}{_ROOM_SUFFIX}"
        file = path.open("x+b", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file, path

    def show(self, path: Path) -> Path:
        """Names a hidden file so that other processes find it, once `sync` has returned.

        Names sort by age.
        """
        # A UUID keeps two processes of the same instant apart.
        return path.rename(self._path / f"{time_ns():020d}-{uuid4().hex}{_SUFFIX}")

    def sync(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Locks out other processes that measure, make or remove files. Raises TimeoutError."""
        descriptor = os.open(self._path, os.O_RDONLY)
        give_up_at = monotonic() + _LOCK_WAIT_S
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if monotonic() > give_up_at:
                        raise TimeoutError("another process keeps the spool's directory") from None
                sleep(_LOCK_PAUSE_S)
            yield
        finally:
            os.close(descriptor)


def is_hidden(path: Path) -> bool:
    return path.suffix == _ROOM_SUFFIX


def open_locked(path: Path) -> BinaryIO | None:
    """The file, open and locked; None while another process has it locked."""
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
