"""A master, its replica and the sentinels that watch them, each a process of its own."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from redis import Redis, RedisError

from tests.servers import HOST, ServerProcess, free_port, redis_binary, redis_server, running

MASTER = "mymaster"
_SENTINELS = 3
_QUORUM = 2
# Long enough that a busy machine is not taken for a dead master.
_DOWN_AFTER_MS = 1500
_FAILOVER_TIMEOUT_MS = 5000
_START_TIMEOUT_S = 30.0
_POLL_S = 0.05


class Replicated:
    """`url` is what REDIS_URL says. A test kills the master, and never the replica."""

    def __init__(self, directory: Path) -> None:
        # By default a master waits for five seconds, lest another replica comes.
        at_once = ("--repl-diskless-sync-delay", "0")
        self.master = redis_server(_make(directory / "master"), *at_once)
        link = ("--replicaof", f"{HOST} {self.master.port}")
        self.replica = redis_server(_make(directory / "replica"), *at_once, *link)
        self.sentinels = [
            sentinel_server(_make(directory / f"sentinel-{number}"), self.master.port)
            for number in range(_SENTINELS)
        ]
        addresses = ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://{addresses}/{MASTER}/0"

    def is_linked(self) -> bool:
        replication = _ask(self.replica, "INFO", "replication")
        return bool(replication and replication["master_link_status"] == "up")

    def is_watched(self) -> bool:
        """Every sentinel knows the others and the replica, so that it could be promoted."""
        return all(
            state is not None
            and state["num-slaves"] == 1
            and state["num-other-sentinels"] == _SENTINELS - 1
            and state["flags"] == "master"
            for state in map(_state, self.sentinels)
        )

    def has_caught_up(self) -> bool:
        """All that the master has done so far has reached the replica."""
        offset = _ask(self.master, "INFO", "replication")["master_repl_offset"]
        return bool(_ask(self.replica, "INFO", "replication")["slave_repl_offset"] >= offset)

    def is_promoted(self) -> bool:
        """Every sentinel sends clients to the replica."""
        states = [_state(sentinel) for sentinel in self.sentinels]
        return all(state is not None and state["port"] == self.replica.port for state in states)


@contextlib.contextmanager
def replicated(directory: Path) -> Iterator[Replicated]:
    """The sentinels start once the replica is there, which they then see at once."""
    servers = Replicated(directory)
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(servers.master))
        stack.enter_context(running(servers.replica))
        _await(servers.is_linked)
        for sentinel in servers.sentinels:
            stack.enter_context(running(sentinel))
        _await(servers.is_watched)
        yield servers


def sentinel_server(
    directory: Path, master_port: int, *options: str, quorum: int = _QUORUM
) -> ServerProcess:
    """`options` are lines of its configuration, into which it writes what it finds out."""
    port = free_port()
    configuration = directory / "sentinel.conf"
    lines = (
        f"port {port}",
        f"bind {HOST}",
        f"dir {directory}",
        f"sentinel monitor {MASTER} {HOST} {master_port} {quorum}",
        f"sentinel down-after-milliseconds {MASTER} {_DOWN_AFTER_MS}",
        f"sentinel failover-timeout {MASTER} {_FAILOVER_TIMEOUT_MS}",
        *options,
    )
    configuration.write_text("".join(f"{line}\n" for line in lines))
    command = [redis_binary(), str(configuration), "--sentinel"]
    return ServerProcess(f"redis://{HOST}:{port}", command, port, directory)


def _make(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _ask(server: ServerProcess, *command: str) -> Any:
    with Redis.from_url(server.url) as redis:
        return redis.execute_command(*command)


def _state(sentinel: ServerProcess) -> dict[str, Any] | None:
    """What it thinks of the master."""
    try:
        with Redis.from_url(sentinel.url) as redis:
            state: dict[str, Any] = redis.sentinel_master(MASTER)
    except RedisError:
        return None
    return state


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(condition.__name__)
        time.sleep(_POLL_S)
