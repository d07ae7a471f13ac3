"""The readiness checks of each kind of server. A check returns None, or the reason."""

import http.client
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from deploy.local import mongod, ports
from deploy.local.errors import StackError
from deploy.local.ports import HOST
from deploy.local.process import Supervisor

CHECK_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 30.0
POLL_S = 0.1
TAIL_LINES = 20


class Listens(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    port: int


class AnswersPing(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    port: int


class IsPrimary(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    port: int


class AnswersHttp(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    url: str


class CommandSucceeds(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    command: tuple[str, ...]
    environment: dict[str, str]
    directory: Path


Probe = Listens | AnswersPing | IsPrimary | AnswersHttp | CommandSucceeds


def check(probe: Probe) -> str | None:
    match probe:
        case Listens(port=port):
            return _check_socket(port, b"", b"")
        case AnswersPing(port=port):
            # A server that is loading its file replies -LOADING.
            return _check_socket(port, b"PING\r\n", b"+PONG")
        case IsPrimary(port=port):
            return mongod.check_primary(port)
        case AnswersHttp(url=url):
            return _check_http(url)
        case CommandSucceeds():
            return _check_command(probe)


def await_ready(probes: Mapping[str, Probe], supervisor: Supervisor, *, timeout_s: float) -> None:
    """Waits until all are ready. Raises StackError if a process dies or is not ready in time."""
    pending = dict(probes)
    deadline = time.monotonic() + timeout_s
    while pending:
        for name, probe in list(pending.items()):
            reason = _check_own(name, probe, supervisor)
            if reason is None:
                del pending[name]
            elif time.monotonic() > deadline:
                raise StackError(
                    f"{name} is not ready after {timeout_s:.0f} s: {reason}",
                    supervisor.tail(name, TAIL_LINES),
                )
        if pending:
            time.sleep(POLL_S)


def _check_own(name: str, probe: Probe, supervisor: Supervisor) -> str | None:
    """As `check`, but an answer counts only if the process itself has its port.

    Before the process binds the port, another process may answer there in the same way.
    """
    reason = check(probe)
    record = supervisor.find(name)
    if record is None:
        port = supervisor.port(name)
        cause = f": port {port} is taken by {ports.owner(port)}" if ports.answers(port) else ""
        raise StackError(f"{name} ended while starting{cause}", supervisor.tail(name, TAIL_LINES))
    if reason is None and record.port and not ports.is_listening(record.pid, record.port):
        return f"port {record.port} is taken by {ports.owner(record.port)}"
    return reason


def _check_socket(port: int, question: bytes, answer: bytes) -> str | None:
    with closing(socket.socket()) as connection:
        connection.settimeout(CHECK_TIMEOUT_S)
        try:
            connection.connect((HOST, port))
            if question:
                connection.sendall(question)
            reply = connection.recv(64) if question else b""
        except OSError as error:
            return f"port {port}: {error}"
    if reply.startswith(answer):
        return None
    return f"port {port}: {reply.decode(errors='replace').strip()}"


def _check_http(url: str) -> str | None:
    # Addresses of this machine are never reached through a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=CHECK_TIMEOUT_S):
            return None
    except urllib.error.HTTPError as error:
        with error:
            return f"{url} answered {error.code} {error.read(300).decode(errors='replace')}"
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {error}"


def _check_command(probe: CommandSucceeds) -> str | None:
    try:
        completed = subprocess.run(
            probe.command,
            cwd=probe.directory,
            env=probe.environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"its check did not answer within {COMMAND_TIMEOUT_S:.0f} s"
    if completed.returncode == 0:
        return None
    lines = (completed.stdout + completed.stderr).strip().splitlines()
    return lines[-1] if lines else f"its check ended with {completed.returncode}"
