"""`make up` as a process: two at once, one that is interrupted, one that is killed half-way."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from deploy.local import children, ports
from deploy.local.environment import ROOT, without_settings
from deploy.local.process import Supervisor, lives
from tests.support.polling import block_until

PATIENCE_S = 90.0
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Checkout:
    """The `.local` of a checkout of its own."""

    def __init__(self, directory: Path, gateway_port: int, admin_port: int) -> None:
        self.directory = directory
        self.supervisor = Supervisor(directory)
        self._environment = {
            **without_settings(os.environ),
            "GATEWAY_PORT": str(gateway_port),
            "ADMIN_PORT": str(admin_port),
        }

    def start(self, command: str) -> subprocess.Popen[str]:
        arguments = ("-m", "deploy.local", "--directory", str(self.directory), command)
        return subprocess.Popen(
            children.tied((sys.executable, *arguments)),
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        with self.start(command) as process:
            output, _ = process.communicate(timeout=PATIENCE_S)
        return process.returncode, output

    def processes(self) -> dict[str, psutil.Process]:
        """Those that run, by name."""
        records = {name: self.supervisor.find(name) for name in self.supervisor.names()}
        return {name: psutil.Process(record.pid) for name, record in records.items() if record}

    def wait_for(self, name: str) -> None:
        block_until(lambda: name in self.processes(), PATIENCE_S)


@pytest.fixture
def free_ports() -> tuple[int, int]:
    gateway = ports.pick_free()
    return gateway, ports.pick_free(avoid=frozenset({gateway}))


@pytest.fixture
def checkouts(tmp_path: Path, free_ports: tuple[int, int]) -> Iterator[list[Checkout]]:
    """Two that want the same ports."""
    both = [Checkout(tmp_path / name, *free_ports) for name in ("one", "other")]
    try:
        yield both
    finally:
        for checkout in both:
            for name in checkout.supervisor.names():
                checkout.supervisor.kill(name)


@contextlib.contextmanager
def stranger(port: int) -> Iterator[None]:
    """A program that says it is ready, whatever it is asked."""

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Ready) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_two_checkouts_start_at_once_on_one_port(
    checkouts: list[Checkout], free_ports: tuple[int, int]
) -> None:
    processes = [checkout.start("up") for checkout in checkouts]
    outputs = [process.communicate(timeout=PATIENCE_S)[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 1], outputs
    loser = codes.index(1)
    assert f"port {free_ports[0]} is taken by " in outputs[loser]
    assert f"GATEWAY_PORT={free_ports[0] + 10} make up" in outputs[loser]
    assert not re.search(r"\b401\b", outputs[loser])
    assert checkouts[loser].processes() == {}
    assert len(checkouts[1 - loser].processes()) == 6
    # A third comes later, and is told by whom.
    code, output = checkouts[loser].run("up")
    assert code == 1
    assert f"port {free_ports[0]} is taken by `{sys.executable} -m services.gateway" in output
    assert checkouts[loser].processes() == {}


def test_one_checkout_starts_twice_at_once(checkouts: list[Checkout]) -> None:
    checkout, _ = checkouts
    with checkout.start("up") as make_up:
        checkout.wait_for("mongo")
        code, output = checkout.run("up")
        assert code == 1
        assert "another `make up`" in output
        make_up.communicate(timeout=PATIENCE_S)
    assert make_up.returncode == 0
    assert len(checkout.processes()) == 6


@pytest.mark.parametrize("which", [0, 1])
def test_a_stranger_takes_a_port_while_the_stack_starts(
    checkouts: list[Checkout], free_ports: tuple[int, int], which: int
) -> None:
    """And answers as the service would that has not come as far as its port yet."""
    checkout, _ = checkouts
    port = free_ports[which]
    with checkout.start("up") as make_up:
        checkout.wait_for("redis")
        with stranger(port):
            output, _ = make_up.communicate(timeout=PATIENCE_S)
    assert make_up.returncode == 1
    assert f"port {port} is taken by `" in output
    assert f"(pid {os.getpid()}, " in output
    # The last lines of the service itself come first.
    assert "address already in use" in output
    assert checkout.processes() == {}


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """As a terminal starts processes: of a shell's background jobs, children ignore SIGINT."""
    before = {signum: signal.getsignal(signum) for signum in INTERRUPTIONS}
    for signum, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize("signum", INTERRUPTIONS)
def test_an_interrupted_start_leaves_nothing(
    checkouts: list[Checkout], signum: signal.Signals
) -> None:
    checkout, _ = checkouts
    with checkout.start("up") as make_up:
        checkout.wait_for("redis")
        make_up.send_signal(signum)
        output, _ = make_up.communicate(timeout=PATIENCE_S)
    assert make_up.returncode == 130
    assert "make up: interrupted" in output
    assert checkout.processes() == {}
    assert checkout.supervisor.names() == []


def test_leftovers_of_a_killed_start_are_found(
    checkouts: list[Checkout], free_ports: tuple[int, int]
) -> None:
    checkout, _ = checkouts
    with checkout.start("up") as make_up:
        checkout.wait_for("redis")
        make_up.kill()
    orphans = checkout.processes()
    assert {"mongo", "redis"} <= orphans.keys()
    code, output = checkout.run("status")
    assert code == 0
    assert all(f"pid {process.pid}" in output for process in orphans.values())

    # The next start goes on with them, and starts again what is killed.
    assert checkout.run("up")[0] == 0
    running = checkout.processes()
    assert {name: running[name].pid for name in orphans} == {n: p.pid for n, p in orphans.items()}
    running["gateway"].kill()
    block_until(lambda: "gateway" not in checkout.processes(), PATIENCE_S)
    assert "gateway        dead" in checkout.run("status")[1]
    assert checkout.run("up")[0] == 0

    all_of_it = checkout.processes()
    assert len(all_of_it) == 6
    code, output = checkout.run("down")
    assert code == 0
    assert all(name in output for name in all_of_it)
    assert not any(lives(process) for process in all_of_it.values())
    with socket.create_server(("127.0.0.1", free_ports[0])):
        pass
