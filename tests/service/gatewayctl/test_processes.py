"""gatewayctl as a process: Ctrl-C, a pipe that closes, a terminal."""

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.polling import PATIENCE_S, block_until

ROOT = Path(__file__).parents[3]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/csv\r\ntransfer-encoding: chunked\r\n\r\n"


@contextmanager
def endless(content: bytes, *, more: bool) -> Iterator[dict[str, str]]:
    """The environment for a server whose answer never ends: it stops, or goes on with `more`."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(HEAD)
                chunk = f"{len(content):x}\r\n".encode() + content + b"\r\n"
                connection.sendall(chunk)
                while more:
                    try:
                        connection.sendall(chunk)
                    except OSError:
                        return
                ended.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            port = listener.getsockname()[1]
            url = f"http://127.0.0.1:{port}"
            yield {**os.environ, "GATEWAYCTL_URL": url, "GATEWAYCTL_KEY": "k", "NO_COLOR": "1"}
        finally:
            ended.set()
            # Wakes it up where nobody came.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gatewayctl", *arguments]


def test_an_interrupted_export_leaves_no_file(tmp_path: Path) -> None:
    with endless(b"entry_id\n1\n", more=False) as environ:
        process = subprocess.Popen(
            command("usage", "export", "-o", str(tmp_path / "out.csv")),
            cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        block_until(lambda: any(tmp_path.iterdir()), PATIENCE_S)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert process.returncode == 130
    assert "out.csv was not written" in stderr
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_that_closes_ends_it_quietly() -> None:
    with endless(b"x" * 65_536 + b"\n", more=True) as environ:
        process = subprocess.Popen(
            command("usage", "export"),
            cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10) == b"x" * 10
        process.stdout.close()
        stderr = process.stderr.read()
        process.stderr.close()
        assert (process.wait(), stderr) == (0, b"")


def test_a_terminal_is_asked_for_the_key_without_an_echo(tmp_path: Path) -> None:
    environ = {**os.environ, "HOME": str(tmp_path), "GATEWAYCTL_URL": "http://127.0.0.1:1"}
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command("login"), cwd=ROOT, env=environ, stdin=follower, stdout=follower, stderr=follower,
        start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    output = b""
    while b"Admin key: " not in output:
        output += os.read(leader, 4096)
    os.write(leader, b"the-secret-key\n")
    try:
        while piece := os.read(leader, 4096):
            output += piece
    except OSError:
        # The other side has ended.
        pass
    os.close(leader)
    assert process.wait() == 4
    assert b"Nothing answers" in output
    assert b"the-secret-key" not in output


@pytest.mark.parametrize(
    ("shell", "more"),
    [
        ("bash", {"COMP_WORDS": "gatewayctl accounts cre", "COMP_CWORD": "2"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "gatewayctl accounts cre"}),
        (
            "fish",
            {
                "_TYPER_COMPLETE_ARGS": "gatewayctl accounts cre",
                "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            },
        ),
    ],
)
def test_every_shell_completes_verbs(shell: str, more: dict[str, str]) -> None:
    def completion(instruction: str) -> str:
        environ = {**os.environ, "_GATEWAYCTL_COMPLETE": f"{instruction}_{shell}", **more}
        completed = subprocess.run(
            command(), cwd=ROOT, env=environ, check=True, capture_output=True, text=True
        )
        return completed.stdout

    verbs = completion("complete")
    assert "create" in verbs
    assert "suspend" not in verbs
    assert f"_GATEWAYCTL_COMPLETE=complete_{shell}" in completion("source")
