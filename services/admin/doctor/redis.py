"""Redis: whether it persists, has room, and is the master."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from libs.common.logging import describe_error
from libs.common.storage.redis.server_facts import RedisFacts
from services.admin.doctor.findings import Area, Finding, clock_finding, worst_of_each

AREA = Area("redis")
_MS = 1000
_FULL, _NEARLY_FULL = 0.95, 0.8
_OLDEST = (7, 0)
_USERS = "start it with deploy/databases/redis.sh, which gives each service a user"


def cluster_findings(answers: Sequence[RedisFacts | BaseException], now: datetime) -> list[Finding]:
    """Of each check, the worst of all masters'; of a single server, its own."""
    known = [facts for facts in answers if isinstance(facts, RedisFacts)]
    found = worst_of_each([each for facts in known for each in redis_findings(facts, now)])
    faults = [fault for fault in answers if isinstance(fault, BaseException)]
    if faults:
        reason = (
            f"{len(faults)} of {len(answers)} masters do not answer: {describe_error(faults[0])}"
        )
        found.append(AREA.fail("masters", reason, "start them, or promote their replicas"))
    return found


def redis_findings(facts: RedisFacts, now: datetime) -> list[Finding]:
    """`now` is the admin service's time right after Redis told its own."""
    ahead_s = facts.time_ms / _MS - now.timestamp()
    found = [clock_finding(AREA, "Redis", ahead_s, facts.round_trip_s), _user(facts.user)]
    if not facts.info:
        return [
            AREA.unknown("info", "the user may not send INFO", "ACL SETUSER admin +info"),
            *found,
        ]
    info = facts.info
    return [
        _persistence(info, facts.fsync),
        _eviction(info),
        _memory(info),
        _mode(info),
        _replicas(info),
        _version(info),
        *found,
    ]


def _persistence(info: dict[str, Any], fsync: str | None) -> Finding:
    if not info.get("aof_enabled"):
        return AREA.fail(
            "persistence",
            "the append-only file is off: a restart loses usage that is not posted",
            "valkey-cli CONFIG SET appendonly yes, and in its configuration",
        )
    if info.get("aof_last_write_status", "ok") != "ok":
        return AREA.fail(
            "persistence", "the append-only file cannot be written: is its disk full?", "df -h"
        )
    if fsync is None:
        return AREA.ok(
            "persistence", "append-only file on; CONFIG is refused, so fsync is not known"
        )
    if fsync != "always":
        return AREA.warn(
            "persistence",
            f"append-only file with fsync {fsync}: a crash may lose a second of usage",
            "valkey-cli CONFIG SET appendfsync always, and in its configuration",
        )
    return AREA.ok("persistence", "append-only file with fsync always")


def _eviction(info: dict[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy", "noeviction")
    evicted = int(info.get("evicted_keys", 0))
    if policy != "noeviction":
        note = f"; it has evicted {evicted:,} keys" if evicted else ""
        return AREA.fail(
            "eviction",
            f"{policy}: at its limit it deletes usage and what limits have counted{note}",
            "valkey-cli CONFIG SET maxmemory-policy noeviction, and in its configuration",
        )
    return AREA.ok("eviction", "noeviction")


def _memory(info: dict[str, Any]) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        return AREA.warn(
            "memory",
            f"{_mib(used)} used, without a limit: it is killed when the machine's memory is full",
            "valkey-cli CONFIG SET maxmemory 768mb, and in its configuration",
        )
    text = f"{_mib(used)} of {_mib(limit)} used"
    mend = "valkey-cli CONFIG SET maxmemory, higher; then find out why the queue grows"
    if used >= _FULL * limit:
        return AREA.fail("memory", f"{text}: full, it refuses writes and gateways spool", mend)
    if used >= _NEARLY_FULL * limit:
        return AREA.warn("memory", text, mend)
    return AREA.ok("memory", text)


def _mode(info: dict[str, Any]) -> Finding:
    if info.get("role") != "master":
        return AREA.fail(
            "mode", f"a {info.get('role')}: writes go nowhere", "point REDIS_URL to the master"
        )
    # Valkey says `server_mode`, unless it is to say what Redis does.
    mode = info.get("redis_mode") or info.get("server_mode", "standalone")
    return AREA.ok("mode", f"{mode}, the master")


def _replicas(info: dict[str, Any]) -> Finding:
    count = int(info.get("connected_slaves", 0))
    if not count:
        return AREA.ok("replicas", "none: its disk is the only copy of what is not posted")
    lagging = [
        name
        for name, each in info.items()
        if name.startswith("slave") and isinstance(each, dict) and each.get("state") != "online"
    ]
    if lagging:
        return AREA.warn(
            "replicas", f"{len(lagging)} of {count} are not online", "valkey-cli INFO replication"
        )
    return AREA.ok("replicas", f"{count} online")


def _version(info: dict[str, Any]) -> Finding:
    name = "valkey_version" if "valkey_version" in info else "redis_version"
    version = str(info.get(name, "unknown"))
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if len(parts) == 2 and parts < _OLDEST:
        return AREA.fail("version", f"{version}; 7.0 is the oldest that works", "upgrade Redis")
    return AREA.ok("version", f"{name.removesuffix('_version')} {version}")


def _user(user: str | None) -> Finding:
    if user is None:
        return AREA.unknown("rights", "it does not say who the user is")
    if user == "default":
        return AREA.warn("rights", "the user is default, who may do everything", _USERS)
    return AREA.ok("rights", f"the user is {user}")


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
