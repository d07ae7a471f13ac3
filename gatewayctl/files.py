"""Writes files that are either complete or absent."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replace_file(path: Path, *, mode: int | None = None) -> Iterator[BinaryIO]:
    """The block's output replaces the file at its end; if the block raises, nothing changes.

    The new one is beside the old one meanwhile. `mode` None is what the umask leaves. Raises
    OSError.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            Path(name).chmod(_usual_mode() if mode is None else mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _usual_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
