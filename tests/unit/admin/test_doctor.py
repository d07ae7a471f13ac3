"""What the doctor makes of what it sees."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from libs.common.schemas.price import AT_COST, PriceImport
from libs.common.storage.mongo.server_facts import MongoFacts
from libs.common.storage.redis.replicas import ReplicaNote
from libs.common.storage.redis.server_facts import RedisFacts
from services.admin.doctor.findings import Finding, worst
from services.admin.doctor.ledger import ledger_findings
from services.admin.doctor.mongo import index_findings, mongo_findings
from services.admin.doctor.prices import price_findings
from services.admin.doctor.redis import cluster_findings, redis_findings
from services.admin.doctor.replicas import replica_findings
from services.admin.ledger_health import LedgerHealthView, ProofStateView, QueueView, SpoolView

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
MONGO = MongoFacts(
    version="8.0.4",
    set_name="rs0",
    members=3,
    is_router=False,
    local_time=NOW,
    round_trip_s=0.01,
    users=("admin",),
    writable=frozenset({"accounts", "keys"}),
    is_administrator=False,
)
INFO = {
    "redis_version": "7.4.1",
    "redis_mode": "standalone",
    "role": "master",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "maxmemory": 1000,
    "used_memory": 100,
    "maxmemory_policy": "noeviction",
    "connected_slaves": 0,
}
REDIS = RedisFacts(info=INFO, user="admin", fsync="always", time_ms=NOW_MS, round_trip_s=0.01)
HEALTH = LedgerHealthView(
    redis="up",
    queue=QueueView(jobs=0, oldest_at=None, shards_away=0),
    spools=(),
    dead_letters=0,
    proof=ProofStateView(
        ok=True,
        last_success_at=NOW - timedelta(hours=1),
        proved_until=None,
        accounts=3,
        sealed_accounts=3,
    ),
)
REPLICAS = tuple(
    ReplicaNote(
        service=service,
        name=f"{service}-1",
        version="1.2.3",
        python="3.13.1",
        started_ms=NOW_MS,
        noted_ms=NOW_MS,
    )
    for service in ("gateway", "ledger_worker")
)


def verdicts(findings: Sequence[Finding]) -> dict[str, str]:
    """Those that are not well; each of them says what to do."""
    bad = [finding for finding in findings if finding.verdict != "ok"]
    assert all(finding.mend for finding in bad if finding.verdict == "fail")
    return {finding.check: finding.verdict for finding in bad}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"members": 1}, {}),
        ({"set_name": None}, {"replica set": "fail"}),
        ({"set_name": None, "is_router": True}, {}),
        ({"members": 4}, {"replica set": "warn"}),
        ({"version": "4.4.2"}, {"version": "warn"}),
        ({"version": None}, {"version": "unknown"}),
        ({"version": "10.1-rc0"}, {}),
        ({"users": ()}, {"rights": "warn"}),
        ({"is_administrator": True}, {"rights": "warn"}),
        ({"writable": None}, {"rights": "unknown"}),
        ({"writable": frozenset({"entries"})}, {"rights": "warn"}),
        ({"local_time": NOW + timedelta(seconds=3)}, {"clock": "warn"}),
        ({"local_time": NOW - timedelta(seconds=40)}, {"clock": "fail"}),
        # The answer took so long that the difference says nothing.
        ({"local_time": NOW + timedelta(seconds=3), "round_trip_s": 4.0}, {}),
    ],
)
def test_of_mongodb(changes: dict[str, Any], expected: dict[str, str]) -> None:
    facts = msgspec.structs.replace(MONGO, **changes)
    assert verdicts(mongo_findings(facts, NOW)) == expected


def test_of_indexes() -> None:
    assert verdicts(index_findings([])) == {}
    [finding] = index_findings([("entries", ["user_id_1_seq_1"])])
    assert finding.verdict == "fail"
    assert "user_id_1_seq_1" in finding.reason
    assert finding.mend == "python -m services.admin --build-indexes"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"aof_enabled": 0}, {"persistence": "fail"}),
        ({"aof_last_write_status": "err"}, {"persistence": "fail"}),
        ({"maxmemory_policy": "volatile-lru"}, {"eviction": "fail"}),
        ({"maxmemory": 0}, {"memory": "warn"}),
        ({"used_memory": 850}, {"memory": "warn"}),
        ({"used_memory": 960}, {"memory": "fail"}),
        ({"role": "slave"}, {"mode": "fail"}),
        ({"redis_version": "6.2.0"}, {"version": "fail"}),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.0"}, {}),
        ({"connected_slaves": 1, "slave0": {"state": "online"}}, {}),
        ({"connected_slaves": 1, "slave0": {"state": "wait_bgsave"}}, {"replicas": "warn"}),
    ],
)
def test_of_redis(changes: dict[str, Any], expected: dict[str, str]) -> None:
    facts = msgspec.structs.replace(REDIS, info=INFO | changes)
    assert verdicts(redis_findings(facts, NOW)) == expected


def test_of_a_cluster() -> None:
    full = msgspec.structs.replace(REDIS, info=INFO | {"used_memory": 960})
    away = RedisConnectionError("refused")
    assert verdicts(cluster_findings([REDIS, REDIS], NOW)) == {}
    found = cluster_findings([REDIS, full, away], NOW)
    assert verdicts(found) == {"memory": "fail", "masters": "fail"}
    assert len(found) == len(redis_findings(REDIS, NOW)) + 1
    assert found[-1].reason == "1 of 3 masters do not answer: ConnectionError: refused"


def test_of_valkeys_mode() -> None:
    info = REDIS.info | {"server_mode": "cluster"}
    del info["redis_mode"]
    found = redis_findings(msgspec.structs.replace(REDIS, info=info), NOW)
    assert [each.reason for each in found if each.check == "mode"] == ["cluster, the master"]


def test_settings_hidden_by_redis_are_not_faults() -> None:
    fsync = msgspec.structs.replace(REDIS, fsync="everysec")
    assert verdicts(redis_findings(fsync, NOW)) == {"persistence": "warn"}
    # A managed service has no CONFIG, which is not a fault.
    assert verdicts(redis_findings(msgspec.structs.replace(REDIS, fsync=None), NOW)) == {}
    nothing = msgspec.structs.replace(REDIS, info={}, user=None)
    assert verdicts(redis_findings(nothing, NOW)) == {"info": "unknown", "rights": "unknown"}
    default = msgspec.structs.replace(REDIS, user="default")
    assert verdicts(redis_findings(default, NOW)) == {"rights": "warn"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"queue": None}, {"queue": "unknown"}),
        ({"queue": QueueView(jobs=2, oldest_at=NOW - timedelta(seconds=5), shards_away=0)}, {}),
        (
            {"queue": QueueView(jobs=2, oldest_at=NOW - timedelta(minutes=1), shards_away=0)},
            {"queue": "warn"},
        ),
        (
            {"queue": QueueView(jobs=2, oldest_at=NOW - timedelta(hours=1), shards_away=0)},
            {"queue": "fail"},
        ),
        ({"queue": QueueView(jobs=0, oldest_at=None, shards_away=1)}, {"queue": "fail"}),
        ({"dead_letters": 1}, {"dead letters": "warn"}),
        (
            {
                "spools": (
                    SpoolView(gateway="a", since=NOW, until=NOW, noted_at=NOW, size=0),
                    SpoolView(gateway="b", since=NOW, until=None, noted_at=NOW, size=9),
                )
            },
            {"spool": "warn"},
        ),
    ],
)
def test_of_the_ledger(changes: dict[str, Any], expected: dict[str, str]) -> None:
    health = msgspec.structs.replace(HEALTH, **changes)
    assert verdicts(ledger_findings(health, NOW)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ok": False}, {"proof": "fail"}),
        ({"ok": None, "last_success_at": None}, {"proof": "unknown"}),
        ({"last_success_at": NOW - timedelta(days=3)}, {"proof": "warn"}),
    ],
)
def test_of_the_proof(changes: dict[str, Any], expected: dict[str, str]) -> None:
    proof = msgspec.structs.replace(HEALTH.proof, **changes)
    health = msgspec.structs.replace(HEALTH, proof=proof)
    assert verdicts(ledger_findings(health, NOW)) == expected


def test_of_replicas() -> None:
    def found(*notes: ReplicaNote, later_s: float = 1) -> dict[str, str]:
        redis_ms = NOW_MS + round(later_s * 1000)
        return verdicts(replica_findings(notes, version="1.2.3", redis_ms=redis_ms))

    gateway, worker = REPLICAS
    assert found(gateway, worker) == {}
    assert found(gateway) == {"replicas": "fail"}
    old = msgspec.structs.replace(gateway, version="1.2.2")
    assert found(old, worker) == {"gateway-1": "warn"}
    ahead = msgspec.structs.replace(gateway, ahead_ms=5_000)
    assert found(ahead, worker) == {"clock": "warn"}
    # Killed, while another one runs.
    other = msgspec.structs.replace(gateway, name="gateway-2", noted_ms=NOW_MS - 300_000)
    assert found(gateway, other, worker) == {"gateway-2": "warn"}
    assert found(gateway, worker, later_s=300) == {
        "replicas": "fail",
        "gateway-1": "warn",
        "ledger_worker-1": "warn",
    }


def test_of_prices() -> None:
    old_import = PriceImport(
        import_id="i",
        versions=3,
        undone=False,
        multiplier=AT_COST,
        effective_from=NOW,
        made_by=None,
        created_at=NOW - timedelta(days=100),
    )
    assert verdicts(price_findings(5, NOW, None, NOW)) == {}
    assert verdicts(price_findings(0, None, None, NOW)) == {"bundled map": "warn"}
    assert verdicts(price_findings(5, NOW - timedelta(days=91), old_import, NOW)) == {
        "bundled map": "warn",
        "imports": "warn",
    }


def test_the_worst_is_the_verdict() -> None:
    def of(*names: Any) -> str:
        return worst([Finding(area="a", check="c", verdict=v, reason="") for v in names])

    assert of("ok", "unknown", "warn", "fail") == "fail"
    assert of("ok", "unknown", "warn") == "warn"
    assert of("ok", "unknown") == "unknown"
    assert of("ok") == of() == "ok"
