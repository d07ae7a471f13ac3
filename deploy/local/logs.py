"""The logs of several processes in one terminal."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

LAST_LINES = 20
POLL_S = 0.3
CHUNK_BYTES = 1024 * 1024


def show_logs(paths: Sequence[Path], *, follow: bool) -> None:
    """The last lines of each, and, if asked, what comes after them until interrupted."""
    width = max(len(path.stem) for path in paths)
    positions: dict[Path, int] = {}
    for path in paths:
        content = path.read_bytes()
        positions[path] = len(content)
        _print(path, content.decode(errors="replace").splitlines()[-LAST_LINES:], width)
    while follow:
        time.sleep(POLL_S)
        for path in paths:
            if path.stat().st_size < positions[path]:
                positions[path] = 0
            with path.open("rb") as log:
                log.seek(positions[path])
                content = log.read(CHUNK_BYTES)
            # A line that is still being written waits for the next turn.
            complete = content[: content.rfind(b"\n") + 1]
            positions[path] += len(complete)
            _print(path, complete.decode(errors="replace").splitlines(), width)


def _print(path: Path, lines: Sequence[str], width: int) -> None:
    for line in lines:
        print(f"{path.stem:<{width}} | {line}")
    sys.stdout.flush()
