import os
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deploy.local.errors import StackError
from deploy.local.process import Launch, Supervisor
from deploy.local.readiness import (
    AnswersHttp,
    AnswersPing,
    CommandSucceeds,
    Listens,
    await_ready,
    check,
)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ready = self.path == "/ready"
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(b'{"redis": "down"}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def http_url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def answer_once(listener: socket.socket, reply: bytes) -> threading.Thread:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(64) == b"PING\r\n"
            connection.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_an_http_check_returns_the_reason(http_url: str) -> None:
    assert check(AnswersHttp(url=f"{http_url}/ready")) is None
    reason = check(AnswersHttp(url=f"{http_url}/down"))
    assert reason is not None
    assert '503 {"redis": "down"}' in reason


def test_a_closed_port_is_not_ready(listener: socket.socket) -> None:
    port: int = listener.getsockname()[1]
    assert check(Listens(port=port)) is None
    listener.close()
    for probe in (Listens(port=port), AnswersPing(port=port)):
        reason = check(probe)
        assert reason is not None
        assert f"port {port}" in reason
    assert check(AnswersHttp(url=f"http://127.0.0.1:{port}/ready")) is not None


@pytest.mark.parametrize(("reply", "ready"), [(b"+PONG\r\n", True), (b"-LOADING\r\n", False)])
def test_redis_is_ready_once_it_has_loaded(
    listener: socket.socket, reply: bytes, ready: bool
) -> None:
    thread = answer_once(listener, reply)
    assert (check(AnswersPing(port=listener.getsockname()[1])) is None) is ready
    thread.join()


def test_a_command_check_returns_the_reason(tmp_path: Path) -> None:
    def probe(code: str) -> CommandSucceeds:
        command = (sys.executable, "-c", code)
        return CommandSucceeds(command=command, environment=dict(os.environ), directory=tmp_path)

    assert check(probe("")) is None
    assert check(probe("import sys; sys.exit('no health key')")) == "no health key"
    assert check(probe("import sys; sys.exit(3)")) == "its check ended with 3"


def launch(directory: Path, code: str) -> Launch:
    return Launch(
        name="child",
        command=(sys.executable, "-c", code),
        environment=dict(os.environ),
        directory=directory,
        digest="",
    )


def test_a_process_that_ends_is_reported_with_its_last_output(
    tmp_path: Path, http_url: str
) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.spawn(launch(tmp_path, "import sys; sys.exit('wrong MONGO_URI')"))
    # Even where a stranger answers in its place.
    probes = {"child": AnswersHttp(url=f"{http_url}/down")}
    with pytest.raises(StackError, match="child ended while starting") as caught:
        await_ready(probes, supervisor, timeout_s=60)
    assert caught.value.detail == "wrong MONGO_URI"
    supervisor.kill("child")


def test_a_process_that_never_gets_ready_is_reported_with_the_reason(
    tmp_path: Path, http_url: str
) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.spawn(launch(tmp_path, "import signal; signal.pause()"))
    probes = {"child": AnswersHttp(url=f"{http_url}/down")}
    with pytest.raises(StackError, match=r"child is not ready after 0 s: .*redis"):
        await_ready(probes, supervisor, timeout_s=0)
    supervisor.kill("child")
