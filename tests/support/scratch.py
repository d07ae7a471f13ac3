"""Where tests and their servers keep files."""

import shutil
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 * 1024**3


def in_memory() -> Path | None:
    """A directory in memory, or None without room there.

    The servers of tests sync each write to their files. On a busy disk one sync may take seconds,
    longer than a service waits for a database.
    """
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES
    return _MEMORY if has_room else None
