"""Runs a mongod on PATH as a replica set of one member, because transactions need a set."""

import shutil
from pathlib import Path
from typing import Any, Protocol

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from deploy.local.ports import HOST

REPLICA_SET = "rs0"
TIMEOUT_MS = 2000
# The smallest cache that mongod accepts; by default it takes half of the machine's memory.
CACHE_GB = "0.25"


class Admin(Protocol):
    """The used part of pymongo's `admin` database."""

    def command(self, command: str, value: Any = 1, /) -> Any: ...


def find() -> str | None:
    return shutil.which("mongod")


def command(binary: str, port: int, data: Path) -> tuple[str, ...]:
    """A standalone server; `--replSet REPLICA_SET` makes it a member.

    It needs no flag for durability: the journal is always on since MongoDB 6.1, and a majority
    write is acknowledged once it is in the journal.
    """
    # Unlike the stand-in, mongod does not make its directory.
    data.mkdir(parents=True, exist_ok=True)
    return (
        binary,
        *("--bind_ip", HOST, "--port", str(port), "--dbpath", str(data)),
        *("--nounixsocket", "--wiredTigerCacheSizeGB", CACHE_GB),
    )


def check_primary(port: int, timeout_ms: int = TIMEOUT_MS) -> str | None:
    """A readiness check: None once the member is primary, else the reason.

    The first check initiates the replica set.
    """
    try:
        with MongoClient[dict[str, Any]](
            HOST,
            port,
            directConnection=True,
            serverSelectionTimeoutMS=timeout_ms,
            connectTimeoutMS=timeout_ms,
            socketTimeoutMS=timeout_ms,
        ) as client:
            return initiate(client.admin, f"{HOST}:{port}")
    except PyMongoError as error:
        return f"port {port}: {error}"


def initiate(admin: Admin, member: str) -> str | None:
    """Initiates the replica set if the server has no configuration yet."""
    hello = admin.command("hello")
    if hello.get("isWritablePrimary"):
        return None
    if "setName" not in hello:
        configuration = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": member}]}
        admin.command("replSetInitiate", configuration)
    return f"{member} is not primary yet"
