"""SecantusDB, from PyPI, where there is no mongod on PATH: it speaks MongoDB's protocol."""

import sys
from pathlib import Path

from deploy.local.ports import HOST

REPLICA_SET = "secantus"
# Its sweeper of expired documents keeps what it read open until its next round, a minute later.
# Whatever is written meanwhile stays in the cache, of which updates may take a tenth: with more
# than that it answers nothing any more. It takes no more memory than it has data.
CACHE = "4G"


def binary() -> str:
    return str(Path(sys.executable).with_name("secantusd-py"))


def command(port: int, data: Path, *, is_durable: bool = True) -> tuple[str, ...]:
    """A replica set of one member.

    Unless it `is_durable`, a kill loses writes that were acknowledged.
    """
    return (
        binary(),
        *("--host", HOST, "--port", str(port), "--storage-path", str(data)),
        *("--cache-size", CACHE, *(["--sync-on-commit"] if is_durable else [])),
    )
