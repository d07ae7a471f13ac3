"""Servers of MongoDB on a network with a delay, each behind a link that a test can cut.

    with running_set(slow_set(directory)) as made:
        made.primary().cut()    # neither the other members nor clients reach it

A `mongod` on PATH is a member of a set of three. The stand-in has no members: of it there is one.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from deploy.local import mongod
from tests.clusters import until
from tests.servers import HOST, ServerProcess, free_port, mongo_server, reserved, running

DELAY_MS = 2
_MEMBERS = 3
# A member that is away is noticed soon, and a busy machine not taken for one.
_ELECTION_MS = 3000
_OPLOG_MB = 64
_TIMEOUT_MS = 10_000
# Members copy each other's data, or roll back their own, before they are of use.
_WHOLE_S = 90.0


class Member:
    """`server` listens on a port that nobody else uses; `address` is where it is reached."""

    def __init__(self, directory: Path, server: ServerProcess) -> None:
        self.server = server
        port = free_port()
        self.address = f"{HOST}:{port}"
        options = (str(port), str(server.port), str(DELAY_MS))
        command = (sys.executable, "-m", "tests.support.slow_link", *options)
        logs = directory / "link"
        logs.mkdir()
        self.link = ServerProcess(self.address, command, port, logs)

    def ask(self, command: str, value: Any = 1, **fields: Any) -> dict[str, Any]:
        """Past the link."""
        with MongoClient[dict[str, Any]](
            HOST,
            self.server.port,
            directConnection=True,
            serverSelectionTimeoutMS=_TIMEOUT_MS,
            socketTimeoutMS=_TIMEOUT_MS,
        ) as client:
            return client.admin.command(command, value, **fields)

    def role(self) -> str:
        """As it says itself, which it can while its link is cut."""
        try:
            hello = self.ask("hello")
        except PyMongoError:
            return "away"
        if hello.get("isWritablePrimary"):
            return "primary"
        return "secondary" if hello.get("secondary") else "neither"

    def cut(self) -> None:
        """It still reaches the others."""
        self.link.kill()


class SlowSet:
    """`url` is what MONGO_URI says."""

    def __init__(self, members: Sequence[Member], options: str) -> None:
        self.members = members
        addresses = ",".join(member.address for member in members)
        self.url = f"mongodb://{addresses}/test?{options}"

    def primary(self) -> Member:
        """The one that is, while no election is under way."""
        return next(member for member in self.members if member.role() == "primary")

    def is_whole(self) -> bool:
        roles = [member.role() for member in self.members]
        return roles.count("primary") == 1 and roles.count("secondary") == len(roles) - 1

    def restore(self) -> None:
        """Whatever became of the members."""
        for member in self.members:
            for process in (member.server, member.link):
                process.kill()
                process.start()
        until(self.is_whole, _WHOLE_S)

    def initiate(self) -> None:
        """The members know each other by their links."""
        hosts = [{"_id": n, "host": member.address} for n, member in enumerate(self.members)]
        settings = {"electionTimeoutMillis": _ELECTION_MS, "heartbeatIntervalMillis": 500}
        configuration = {"_id": mongod.REPLICA_SET, "members": hosts, "settings": settings}
        self.members[0].ask("replSetInitiate", configuration)
        until(self.is_whole, _WHOLE_S)


def slow_set(directory: Path) -> SlowSet:
    """Members that are not started yet."""
    binary = mongod.find()
    if binary is None:
        return SlowSet(
            [_member(directory / "member", None)], "directConnection=true&heartbeatFrequencyMS=500"
        )
    members = [_member(directory / f"member-{n}", binary) for n in range(_MEMBERS)]
    return SlowSet(members, f"replicaSet={mongod.REPLICA_SET}")


@contextmanager
def running_set(replica_set: SlowSet) -> Iterator[SlowSet]:
    """Killed at the end, whatever became of its members."""
    with ExitStack() as stack:
        for member in replica_set.members:
            for process in (member.server, member.link):
                # A killed one comes back to its port.
                stack.enter_context(reserved(process.port))
                stack.enter_context(running(process))
        if len(replica_set.members) > 1:
            replica_set.initiate()
        yield replica_set


def _member(directory: Path, binary: str | None) -> Member:
    directory.mkdir()
    if binary is None:
        return Member(directory, mongo_server(directory))
    port = free_port()
    command = (
        *mongod.command(binary, port, directory / "data"),
        *("--replSet", mongod.REPLICA_SET, "--oplogSize", str(_OPLOG_MB)),
        *("--setParameter", "enableTestCommands=1"),
    )
    return Member(directory, ServerProcess(f"mongodb://{HOST}:{port}", command, port, directory))
