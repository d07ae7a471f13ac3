#!/usr/bin/env bash
# pymongo 4.20.1 (on SecantusDB 0.7.0b3): one refused login takes a healthy server away for 10 s.
#
# A password changes while a client has connections that are logged in. They go on working, until the
# client needs one more: its login is refused, and the driver marks the server unknown. It then waits
# for its monitor, whose streaming `hello` is already under way and is answered after
# heartbeatFrequencyMS (10 s). Until then every operation waits, or fails if its own timeout is
# shorter, even though the password is right again. With serverMonitoringMode=poll it is half a second.
# So change no password under a running service: give it a second user and drop the first.
# Seen: the next operation takes 9.9 s with the default (streaming), 0.5 s with poll.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pymongo==4.20.1 SecantusDB==0.7.0b3
cd "$folder"
venv/bin/python -W ignore - <<'PY'
import contextlib
import socket
import subprocess
import time

from pymongo import CursorType, MongoClient
from pymongo.errors import OperationFailure

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    PORT = probe.getsockname()[1]
URI = f"mongodb://{{}}127.0.0.1:{PORT}/?replicaSet=secantus&authSource=admin"
COMMAND = ["venv/bin/secantusd-py", "--port", str(PORT), "--storage-path", "data"]


@contextlib.contextmanager
def server(*options):
    with open("log", "ab") as log:
        process = subprocess.Popen([*COMMAND, *options], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def seconds(client):
    since = time.monotonic()
    client.test.things.find_one({})
    return time.monotonic() - since


def waited(root, mode):
    """How long an operation takes before and after a refused login; the password is right."""
    root.admin.command("updateUser", "alice", pwd="right")
    uri = URI.format("alice:right@") + f"&serverMonitoringMode={mode}"
    with MongoClient(uri, serverSelectionTimeoutMS=30_000) as client:
        client.test.things.find_one({})
        root.admin.command("updateUser", "alice", pwd="other")
        before = seconds(client)
        # Such a cursor keeps its connection, so that the next operation needs another one.
        things = client.test.things.find({}, cursor_type=CursorType.EXHAUST, batch_size=1)
        with things:
            next(things)
            try:
                seconds(client)
                raise SystemExit("no login was refused: it has changed")
            except OperationFailure as error:
                assert error.code == 18, error
        root.admin.command("updateUser", "alice", pwd="right")
        return before, seconds(client)


# Users are made while nobody has to log in.
with server(), MongoClient(URI.format("")) as anybody:
    anybody.test.things.insert_many([{"n": n} for n in range(10)])
    anybody.admin.command("createUser", "root", pwd="root", roles=["root"])
    alice = {"pwd": "right", "roles": [{"role": "read", "db": "test"}]}
    anybody.admin.command("createUser", "alice", **alice)
with server("--auth"), MongoClient(URI.format("root:root@")) as root:
    found = {mode: waited(root, mode) for mode in ("stream", "poll")}
for mode, (before, after) in found.items():
    print(f"{mode}: {before:.2f} s before the refused login, {after:.2f} s after it")
assert all(before < 0.4 for before, _ in found.values()), "it has changed"
assert 7 < found["stream"][1] < 13, "it has changed"
assert found["poll"][1] < 3, "it has changed"
PY
