"""Databases with the users that `deploy/databases` makes, one per service.

    mongo = mongo_server_with_users(directory, database="gateway")
    with running(mongo):
        uri = as_user(mongo.url, "gateway")

The server checks a role's actions, and not on which collection. `forbidden` looks at that
afterwards, by what the server's profiler has noted of each command.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from deploy.local.environment import ROOT
from tests.servers import HOST, ServerProcess, free_port, mongo_server, redis_binary, running

DATABASES = ROOT / "deploy" / "databases"
ROLES: Mapping[str, list[dict[str, list[str]]]] = json.loads((DATABASES / "roles.json").read_text())
ROOT_USER, PASSWORD = "root", "a-password.of~the-tests"
_PROFILE_ALL = 2
READS = frozenset({"find", "aggregate", "count", "distinct"})
# What MongoDB asks of whoever sends a command, where it names the collection.
_ACTIONS: Mapping[str, frozenset[str]] = {
    **{name: frozenset({"find"}) for name in READS},
    "insert": frozenset({"insert"}),
    "update": frozenset({"update"}),
    "upsert": frozenset({"insert", "update"}),
    "delete": frozenset({"remove"}),
    "findAndModify": frozenset({"find", "update"}),
    "createIndexes": frozenset({"createIndex"}),
    "listIndexes": frozenset({"listIndexes"}),
}
# What anybody may send who has logged in.
_FREE = frozenset(
    {"hello", "ping", "endSessions", "killSessions", "commitTransaction", "abortTransaction"}
)


def mongo_server_with_users(directory: Path, *, database: str = "") -> ServerProcess:
    """Not started. The roles hold in the database, or in each one; all may log in by `admin`."""
    # Users are made while nobody has to log in, by a process of its own.
    with running(mongo_server(directory)) as open_server, MongoClient[Any](open_server.url) as root:
        _create_users(root, database)
    return mongo_server(directory, auth=f"{ROOT_USER}:{PASSWORD}", port=open_server.port)


def as_user(uri: str, user: str) -> str:
    """The URI for this user, where the server has users at all."""
    return uri.replace(f"//{ROOT_USER}:", f"//{user}:")


def profile(client: MongoClient[Any], database: str) -> None:
    """Has the server note each command from now on, with its user."""
    client[database].command("profile", _PROFILE_ALL)


def profiled_commands(client: MongoClient[Any], database: str, user: str) -> list[tuple[str, str]]:
    """Command and collection of each that the user has sent, without repetitions."""
    # The test server swaps the two names; mongod does not.
    names = [f"{user}@admin", f"admin@{user}"]
    # A cursor's further batches need what its `find` or `aggregate` needs.
    query = {"user": {"$in": names}, "op": {"$ne": "getmore"}}
    return sorted({named(row) for row in client[database]["system.profile"].find(query)})


def named(row: Mapping[str, Any]) -> tuple[str, str]:
    """Command and collection of a profiler's row. `upsert` is an update that may insert."""
    command = row["command"]
    if "q" in command:
        # mongod has a row for each statement of an update or delete, and none for the command.
        name = {"update": "update", "remove": "delete"}[row["op"]]
        collection = row["ns"].partition(".")[2]
    else:
        name = next(iter(command))
        collection = str(command[name])
    upserts = any(update.get("upsert") for update in command.get("updates", ()))
    return "upsert" if upserts or command.get("upsert") else name, collection


def forbidden(commands: list[tuple[str, str]], user: str) -> Iterator[tuple[str, str, str]]:
    """Command, collection and the action on it that the user's role does not have."""
    for command, collection in commands:
        if command in _FREE:
            continue
        for action in sorted(_ACTIONS[command] - _allowed(user, collection)):
            yield command, collection, action


def redis_server_with_users(directory: Path, **settings: str) -> ServerProcess:
    """Not started: what compose starts. Its URL has no user."""
    port = free_port()
    programs = directory / "bin"
    programs.mkdir()
    (programs / "redis-server").symlink_to(redis_binary())
    passwords = {f"REDIS_{user.upper()}_PASSWORD": PASSWORD for user in ROLES}
    environment = {
        **passwords,
        "PATH": f"{programs}:/usr/bin:/bin",
        "TMPDIR": str(directory),
        **settings,
    }
    options = ("--bind", HOST, "--port", str(port), "--dir", str(directory))
    command = ["/bin/sh", str(DATABASES / "redis.sh"), *options]
    url = f"redis://{HOST}:{port}/0"
    return ServerProcess(url, command, port, directory, environment=environment)


def _create_users(root: MongoClient[Any], database: str) -> None:
    for user, rules in ROLES.items():
        privileges = [
            {"resource": {"db": database, "collection": name}, "actions": rule["actions"]}
            for rule in rules
            for name in rule["collections"]
        ]
        root.admin.command("createRole", user, privileges=privileges, roles=[])
        root.admin.command("createUser", user, pwd=PASSWORD, roles=[user])
    root.admin.command("createUser", ROOT_USER, pwd=PASSWORD, roles=["root"])


def _allowed(user: str, collection: str) -> set[str]:
    return {
        action
        for rule in ROLES[user]
        if collection in rule["collections"]
        for action in rule["actions"]
    }
