"""Facts about the MongoDB server, as far as the service's user may read them."""

from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import msgspec

from libs.common.storage.mongo.driver import Database, PyMongoError


class MongoFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`writable` are collections whose documents the user may change; None where all rights are
    unknown. `round_trip_s` is what asking for the time took.
    """

    version: str | None
    set_name: str | None
    members: int
    is_router: bool
    local_time: datetime | None
    round_trip_s: float
    users: tuple[str, ...]
    writable: frozenset[str] | None
    is_administrator: bool


async def read_mongo_facts(database: Database) -> MongoFacts:
    """Raises PyMongoError."""
    began = perf_counter()
    hello = await database.command("hello")
    round_trip_s = perf_counter() - began
    status = await _run_command(database, {"connectionStatus": 1, "showPrivileges": True})
    build = await _run_command(database, {"buildInfo": 1})
    auth = status.get("authInfo", {})
    privileges = auth.get("authenticatedUserPrivileges")
    rights = None if privileges is None else _rights(privileges, database.name)
    roles = {role.get("role") for role in auth.get("authenticatedUserRoles", ())}
    return MongoFacts(
        version=build.get("version"),
        set_name=hello.get("setName"),
        members=len(hello.get("hosts", ())),
        is_router=hello.get("msg") == "isdbgrid",
        local_time=_in_utc(hello.get("localTime")),
        round_trip_s=round_trip_s,
        users=tuple(str(user.get("user")) for user in auth.get("authenticatedUsers", ())),
        writable=rights,
        is_administrator=bool(
            roles & {"root", "dbOwner", "readWriteAnyDatabase", "dbAdminAnyDatabase", "__system"}
        ),
    )


def _in_utc(at: datetime | None) -> datetime | None:
    """Commands answer times without their zone."""
    return None if at is None else at.replace(tzinfo=UTC)


async def _run_command(database: Database, command: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(await database.command(command))
    except PyMongoError:
        return {}


def _rights(privileges: list[dict[str, Any]], database: str) -> frozenset[str]:
    collections = set()
    for privilege in privileges:
        resource = privilege.get("resource", {})
        if resource.get("db") in (database, "") and "update" in privilege.get("actions", ()):
            collections.add(resource.get("collection") or "*")
    return frozenset(collections)
