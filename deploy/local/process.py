"""Starts and stops the processes of a directory, which later commands find again.

Each process has a record (`run/NAME.json`) and a log (`log/NAME.log`). A record holds the creation
time of the process beside its pid, because after a crash or a reboot the pid may belong to another
process, which must never be signalled.
"""

import contextlib
import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import msgspec
import psutil

from deploy.local import children
from deploy.local.state import write_private

LOG_LIMIT_BYTES = 10 * 1024 * 1024
TAIL_BYTES = 64 * 1024
KILL_WAIT_S = 10.0
POLL_S = 0.02
# The kernel derives a process's creation time from the wall clock, which may be stepped a little.
CREATED_TOLERANCE_S = 2.0


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """A command to run. If `digest` differs from a running process's, that process is replaced."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    directory: Path
    digest: str
    # 0 for a process without a port.
    port: int = 0


class ProcessRecord(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    created: float
    digest: str
    port: int = 0
    # The start of this process's part of the log.
    log_offset: int = 0


class Supervisor:
    """Starts, finds and stops the processes of one directory.

    They end with this process, unless they are `detached`.
    """

    def __init__(self, directory: Path, *, detached: bool = False) -> None:
        self._detached = detached
        self._run = directory / "run"
        self._log = directory / "log"
        # Needed to reap children; later commands find the processes by their records.
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def log_path(self, name: str) -> Path:
        return self._log / f"{name}.log"

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._run.glob("*.json"))

    def find(self, name: str) -> ProcessRecord | None:
        """The record of a living process, or None."""
        record = self._read(name)
        if record is None or self._process(record) is None:
            return None
        return record

    def port(self, name: str) -> int:
        """The port of the last recorded process, alive or not; 0 without one."""
        record = self._read(name)
        return 0 if record is None else record.port

    def spawn(self, launch: Launch) -> None:
        self._reap(launch.name)
        self._log.mkdir(parents=True, exist_ok=True)
        log_path = self.log_path(launch.name)
        if log_path.exists() and log_path.stat().st_size > LOG_LIMIT_BYTES:
            log_path.replace(log_path.with_suffix(".log.1"))
        with log_path.open("ab") as log:
            self._children[launch.name] = children.start(
                launch.command,
                log=log,
                environment=launch.environment,
                directory=launch.directory,
                is_tied=not self._detached,
                register=partial(self._register, launch, log.tell()),
            )

    def signal(self, name: str, signum: signal.Signals) -> bool:
        """Send a signal to the process alone; False if it is not running."""
        record = self.find(name)
        if record is None:
            return False
        os.kill(record.pid, signum)
        return True

    def stop(self, name: str, deadline_s: float) -> bool:
        """SIGTERM, then SIGKILL after the deadline; True if SIGTERM was enough."""
        record = self._read(name)
        process = self._process(record) if record else None
        graceful = True
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
                # A paused process (SIGSTOP) would not handle the signal.
                process.resume()
            graceful = self._wait(process, deadline_s)
            if not graceful:
                self._kill(process)
        self._forget(name)
        return graceful

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash would; returns once the process is gone."""
        record = self._read(name)
        process = self._process(record) if record else None
        if process is not None:
            self._kill(process)
        self._forget(name)

    def tail(self, name: str, lines: int) -> str:
        """The last lines in the log of the last recorded process."""
        path = self.log_path(name)
        record = self._read(name)
        if record is None or not path.exists():
            return ""
        with path.open("rb") as log:
            log.seek(max(record.log_offset, path.stat().st_size - TAIL_BYTES))
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _register(self, launch: Launch, log_offset: int, pid: int) -> None:
        record = ProcessRecord(
            pid=pid,
            created=_create_time(pid),
            digest=launch.digest,
            port=launch.port,
            log_offset=log_offset,
        )
        write_private(self._record_path(launch.name), msgspec.json.encode(record))

    def _kill(self, process: psutil.Process) -> None:
        # Each child leads a process group, so that its own children end with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        self._wait(process, KILL_WAIT_S)

    @staticmethod
    def _wait(process: psutil.Process, deadline_s: float) -> bool:
        deadline = time.monotonic() + deadline_s
        while lives(process):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def _forget(self, name: str) -> None:
        self._reap(name)
        self._record_path(name).unlink(missing_ok=True)

    def _reap(self, name: str) -> None:
        child = self._children.pop(name, None)
        if child is not None:
            child.wait(KILL_WAIT_S)

    def _record_path(self, name: str) -> Path:
        return self._run / f"{name}.json"

    def _read(self, name: str) -> ProcessRecord | None:
        try:
            return msgspec.json.decode(self._record_path(name).read_bytes(), type=ProcessRecord)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    @staticmethod
    def _process(record: ProcessRecord) -> psutil.Process | None:
        try:
            process = psutil.Process(record.pid)
            if abs(process.create_time() - record.created) > CREATED_TOLERANCE_S:
                return None
        except psutil.NoSuchProcess:
            return None
        return process if lives(process) else None


def lives(process: psutil.Process) -> bool:
    """A zombie counts as dead: its parent may reap it only seconds later."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _create_time(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0
