"""Finds free ports for the stack's servers, and the owners of taken ones."""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import psutil

# Below the range from which kernels take the ports of outgoing connections (32768 on Linux, 49152
# elsewhere), so that a port found free is still free when the server binds it.
LOWEST, HIGHEST = 20_000, 32_000
ATTEMPTS = 200
HOST = "127.0.0.1"
# The length of a program's command line in a message.
COMMAND_CHARACTERS = 120


def is_free(port: int, host: str = HOST) -> bool:
    with closing(socket.socket()) as probe:
        # As the servers do: a port with connections in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return not answers(port)


def answers(port: int, host: str = HOST) -> bool:
    """Whether a process accepts connections, even if the kernel would allow a second bind."""
    with closing(socket.socket()) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


@contextmanager
def claim(port: int) -> Iterator[None]:
    """Raises BlockingIOError while another start of this user claims the port.

    Otherwise two starts could take each other's ports, and both would fail.
    """
    path = Path(tempfile.gettempdir()) / f"gateway-stack-{os.getuid()}-{port}.lock"
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def is_listening(pid: int, port: int) -> bool:
    """Whether the process `pid` accepts connections on the port."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(_listens(connection, port) for connection in connections)


def owner(port: int) -> str:
    """The process that accepts connections on the port, as far as the system shows it."""
    try:
        for connection in psutil.net_connections("tcp"):
            if _listens(connection, port) and connection.pid is not None:
                process = psutil.Process(connection.pid)
                command = shorten(" ".join(process.cmdline()), COMMAND_CHARACTERS, placeholder=" …")
                return f"`{command}` (pid {process.pid}, in {process.cwd()})"
    except psutil.Error:
        pass
    return "another program"


def _listens(connection: Any, port: int) -> bool:
    return bool(connection.status == psutil.CONN_LISTEN and connection.laddr.port == port)


def pick_free(*, avoid: frozenset[int] = frozenset()) -> int:
    chance = random.SystemRandom()
    for _ in range(ATTEMPTS):
        port = chance.randint(LOWEST, HIGHEST)
        if port not in avoid and is_free(port):
            return port
    raise OSError(f"no free port found between {LOWEST} and {HIGHEST}")
