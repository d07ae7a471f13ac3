"""MongoDB: a replica set, its rights, clock, version and indexes."""

from collections.abc import Sequence
from datetime import datetime

from libs.common.storage.indexes import BUILD_INDEXES
from libs.common.storage.mongo.server_facts import MongoFacts
from services.admin.doctor.findings import Area, Finding, clock_finding

AREA = Area("mongodb")
_OLDEST = (5, 0)
# Only the worker posts, so that spend has one writer.
_LEDGER = frozenset({"entries", "spend", "rollups", "*"})
_ROLES = "create the users with deploy/databases/mongo.js, and give each service its own"


def mongo_findings(facts: MongoFacts, now: datetime) -> list[Finding]:
    """`now` is the admin service's time right after the facts were read."""
    found = [_set(facts), _write_concern(facts), _version(facts), *_rights(facts)]
    if facts.local_time is not None:
        ahead_s = (facts.local_time - now).total_seconds()
        found.append(clock_finding(AREA, "MongoDB", ahead_s, facts.round_trip_s))
    return found


def index_findings(missing: Sequence[tuple[str, Sequence[str]]]) -> list[Finding]:
    """By collection, the names of the indexes that it lacks."""
    if not missing:
        return [AREA.ok("indexes", "all are there")]
    names = "; ".join(f"{collection}: {', '.join(names)}" for collection, names in missing)
    return [AREA.fail("indexes", f"missing in {names}", BUILD_INDEXES)]


def _set(facts: MongoFacts) -> Finding:
    if facts.is_router:
        return AREA.ok("replica set", "a router of shards, which are replica sets")
    if facts.set_name is None:
        return AREA.fail(
            "replica set",
            "it runs standalone, without the transactions that posting needs",
            "start mongod with --replSet rs0, then mongosh --eval 'rs.initiate()'",
        )
    if facts.members == 1:
        return AREA.ok(
            "replica set", f"{facts.set_name} with one member: its disk is the only copy"
        )
    if facts.members % 2 == 0:
        return AREA.warn(
            "replica set",
            f"{facts.set_name} has {facts.members} members: an even number gains nothing",
            "mongosh --eval 'rs.add(\"HOST:27017\")' or rs.remove, for an odd number",
        )
    return AREA.ok("replica set", f"{facts.set_name} with {facts.members} members")


def _write_concern(facts: MongoFacts) -> Finding:
    if facts.members == 1:
        return AREA.ok("write concern", "majority with journal: pinned by the services")
    return AREA.ok(
        "write concern", f"majority of {facts.members or 'the'} members with journal, pinned"
    )


def _version(facts: MongoFacts) -> Finding:
    if facts.version is None:
        return AREA.unknown("version", "the user may not ask for it")
    numbers = facts.version.split(".")
    parts = tuple(int(part) for part in numbers[:2] if part.isdecimal())
    if len(parts) == 2 and parts < _OLDEST:
        return AREA.warn(
            "version", f"{facts.version} is not tested; 5.0 is the oldest", "upgrade MongoDB"
        )
    return AREA.ok("version", facts.version)


def _rights(facts: MongoFacts) -> list[Finding]:
    if not facts.users:
        return [
            AREA.warn(
                "rights", "it requires no password: whoever reaches it may do everything", _ROLES
            )
        ]
    users = ", ".join(facts.users)
    if facts.is_administrator:
        return [AREA.warn("rights", f"{users} may do everything, also change the ledger", _ROLES)]
    if facts.writable is None:
        return [AREA.unknown("rights", f"the rights of {users} cannot be read")]
    if changed := sorted(facts.writable & _LEDGER):
        return [
            AREA.warn(
                "rights",
                f"{users} may change {', '.join(changed)}, as only the worker should",
                _ROLES,
            )
        ]
    return [AREA.ok("rights", f"{users} may not change the ledger")]
