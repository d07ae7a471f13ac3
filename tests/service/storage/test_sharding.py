"""What would be sent to a sharded cluster, which no test here has.

A command that names an account is for one shard. Without the account all shards do it, and become
parties of its transaction.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

import pytest

from libs.common.domain.periods import period_keys
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.spend import KeyPeriod
from libs.common.storage.indexes import INDEXES
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database, MaxKey, MinKey, MongoUnsuitable
from libs.common.storage.mongo.entries import EntryStore
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.ledger import EntriesRefused, LedgerStore
from libs.common.storage.mongo.proofs import ProofStore
from libs.common.storage.mongo.sharding import SHARD_KEYS, Zones, read_zones, shard_collections
from tests.support.earlier_ledger import EarlierLedger
from tests.support.sent_commands import collection_of, sent_commands
from tests.unit.builders import NOW, account, entry

_SEGMENTS = "rollup_segments"
USERS = ("acme", "globex", "initech")
_IDS = [f"0194f5d2-8f6a-7000-8000-00000000000{n}" for n in range(6)]


@pytest.fixture
async def ledger(database: Database) -> LedgerStore:
    await build_indexes(database, INDEXES)
    for user_id in USERS:
        await AccountStore(database).insert(account(user_id=user_id))
    return LedgerStore(database, rollup_tags=("team",))


def call(entry_id: str, **more: Any) -> LedgerEntry:
    at = more.pop("at", NOW)
    fields: dict[str, Any] = {"started_at": at, "periods": period_keys(at)}
    return entry(entry_id, **(fields | more))


async def post_everything(ledger: LedgerStore, database: Database, old: LedgerEntry) -> None:
    """New and known entries, late events, refunds, values with sums, sums that move, readers."""
    abandoned = call(_IDS[0], status="abandoned", cost_nusd=0)
    first = [abandoned, call(_IDS[2], client_user="u", requested_model="m", tags=("team:x",))]
    await ledger.post(first)
    await ledger.post([*first, call(_IDS[3], user_id="globex", status="unpriced", cost_nusd=0)])
    await ledger.post([call(_IDS[0], cost_nusd=9)])
    refund: dict[str, Any] = {"kind": "refund", "corrects": _IDS[2]}
    await ledger.post([call(_IDS[4], cost_nusd=-400, **refund)])
    with pytest.raises(EntriesRefused):
        await ledger.post([call(_IDS[5], cost_nusd=-700, **refund)])
    today = period_keys(NOW)
    await ledger.spend_with_revisions(USERS, [*today, *old.periods])
    await ledger.spend_of_keys([KeyPeriod("acme", "key-1", (today[3], today[3]))])
    await ledger.spend_before("globex", "2026-11")
    entries, proofs = EntryStore(database), ProofStore(database)
    await entries.corrections_of(first)
    await entries.makers_of("acme", ["resp_1"])
    await proofs.tail("acme", 0, None)
    await proofs.sums("acme", 0, 2)


async def test_posting_and_proving_target_one_shard_for_each_account(
    ledger: LedgerStore, database: Database
) -> None:
    old = call(_IDS[1], user_id="globex", at=NOW - timedelta(days=200))
    await EarlierLedger(database).post([old])
    with sent_commands() as commands:
        await post_everything(ledger, database, old)
    counts = dict.fromkeys(SHARD_KEYS, 0)
    for command in commands:
        name = collection_of(command)
        if name in counts:
            counts[name] += 1
            if name == _SEGMENTS:
                assert_beside_its_accounts(command)
            else:
                assert_targeted(command, SHARD_KEYS[name])
    assert all(counts.values()), counts


def assert_beside_its_accounts(command: Mapping[str, Any]) -> None:
    """What is inserted; all shards are asked for what the rollups lack."""
    for document in command.get("documents", ()):
        assert document["_id"].startswith(tuple(f"{user}|" for user in USERS)), document
    assert {"insert", "find"} & command.keys(), command


def assert_targeted(command: Mapping[str, Any], key: Sequence[str]) -> None:
    """Each part names the account; what may insert has the whole shard key."""
    for document in command.get("documents", ()):
        assert set(key) <= set(document), document
    for update in command.get("updates", ()):
        needed = key if update.get("upsert") else key[:1]
        assert all(isinstance(update["q"].get(name), str) for name in needed), update
    conditions = [command[name] for name in ("filter", "query") if name in command]
    conditions += [stages[0]["$match"] for stages in [command.get("pipeline")] if stages]
    for condition in conditions:
        account_of = condition.get(key[0])
        assert isinstance(account_of, str) or set(account_of or ()) == {"$in"}, command


async def test_an_id_that_another_account_has_is_posted_already(
    ledger: LedgerStore, database: Database
) -> None:
    """It would be found on one shard alone, so all are asked, once the id is known to exist."""
    await ledger.post([call(_IDS[0])])
    async with asyncio.timeout(60):
        assert await ledger.post([call(_IDS[0], user_id="globex"), call(_IDS[1])]) == 1
    assert await database["entries"].distinct("user_id") == ["acme"]


def test_each_shard_key_has_an_index_and_no_index_is_unique() -> None:
    for collection, key in SHARD_KEYS.items():
        own = [index for index in INDEXES if index.collection == collection]
        assert key == ("_id",) or any(index.keys[: len(key)] == key for index in own)
        assert not any(index.unique for index in own)


class ShardedCluster:
    """A database behind a router that obeys; its collections are those of the stand-in."""

    def __init__(self, database: Database, shards: Sequence[str]) -> None:
        self._database = database
        self.name = database.name
        self.shards = list(shards)
        self.commands: list[Mapping[str, Any]] = []
        self.client = _Client(self, database)

    def __getitem__(self, name: str) -> Any:
        return self._database[name]

    async def command(self, command: Any) -> Mapping[str, Any]:
        match command:
            case "hello":
                return {"msg": "isdbgrid"}
            case "listShards":
                return {"shards": [{"_id": shard} for shard in self.shards]}
        self.commands.append(command)
        if "updateZoneKeyRange" in command:
            await self._set_range(command)
        return {"ok": 1}

    async def _set_range(self, command: Mapping[str, Any]) -> None:
        """MongoDB refuses a range that overlaps another one."""
        tags = self._database["tags"]
        tag = {"ns": command["updateZoneKeyRange"], "min": command["min"], "max": command["max"]}
        if command["zone"] is None:
            await tags.delete_one(tag)
            return
        others = await tags.find({"ns": tag["ns"]}).to_list(None)
        first = next(iter(tag["min"]))
        for other in others:
            if (other["min"], other["max"]) != (tag["min"], tag["max"]):
                apart = _le(other["max"][first], tag["min"][first]) or _le(
                    tag["max"][first], other["min"][first]
                )
                assert apart, (tag, other)
        await tags.update_one(tag, {"$set": {"tag": command["zone"]}}, upsert=True)


class _Client:
    def __init__(self, admin: Any, database: Database) -> None:
        self.admin = admin
        self._database = database

    def __getitem__(self, name: str) -> Any:
        assert name == "config"
        return self._database


def _le(a: Any, b: Any) -> bool:
    if isinstance(a, MinKey) or isinstance(b, MaxKey):
        return True
    return not (isinstance(a, MaxKey) or isinstance(b, MinKey)) and bool(a <= b)


@pytest.fixture
def cluster(database: Database) -> ShardedCluster:
    return ShardedCluster(database, ["a", "b"])


async def add_accounts(database: Database, number: int, *, first: int = 0) -> None:
    await database["accounts"].insert_many(
        [{"_id": f"user-{n:05}"} for n in range(first, first + number)]
    )


async def test_zones_have_as_many_accounts_and_are_the_same_in_all_collections(
    cluster: ShardedCluster, database: Database
) -> None:
    await add_accounts(database, 400)
    assert await shard_collections(cast("Database", cluster)) == 2
    shardings = [command for command in cluster.commands if "shardCollection" in command]
    keys = {f"{database.name}.{name}": key for name, key in SHARD_KEYS.items()}
    assert {each["shardCollection"]: tuple(each["key"]) for each in shardings} == keys
    tags = await database["tags"].find().to_list(None)
    for name, key in SHARD_KEYS.items():
        own = [tag for tag in tags if tag["ns"] == f"{database.name}.{name}"]
        edges = {(_edge(tag["min"][key[0]]), _edge(tag["max"][key[0]])): tag["tag"] for tag in own}
        assert edges == {
            ("least", "user-00200"): "gateway-0",
            ("user-00200", "most"): "gateway-1",
        }
        assert all(tuple(tag["min"]) == key for tag in own)
    zones = await read_zones(cast("Database", cluster))
    assert [zones.of(user) for user in ("", "user-00199", "user-00200", "z")] == [0, 0, 1, 1]


def _edge(value: Any) -> str:
    match value:
        case MinKey():
            return "least"
        case MaxKey():
            return "most"
    return str(value)


async def test_another_shard_gets_its_share(cluster: ShardedCluster, database: Database) -> None:
    await add_accounts(database, 400)
    await shard_collections(cast("Database", cluster))
    await add_accounts(database, 200, first=400)
    cluster.shards.append("c")
    assert await shard_collections(cast("Database", cluster)) == 3
    cluster.commands.clear()
    assert await shard_collections(cast("Database", cluster)) == 3
    assert not any(command.get("zone", "") is None for command in cluster.commands)
    zones = await read_zones(cast("Database", cluster))
    assert [zones.of(f"user-{n:05}") for n in (199, 200, 399, 400)] == [0, 1, 1, 2]
    assert await database["tags"].count_documents({}) == 3 * len(SHARD_KEYS)


async def test_an_interrupted_sharding_is_completed(
    cluster: ShardedCluster, database: Database
) -> None:
    await add_accounts(database, 400)
    await shard_collections(cast("Database", cluster))
    await add_accounts(database, 100, first=400)
    # As if it had moved the zones of some collections, and had gone.
    await database["tags"].delete_many({"ns": f"{database.name}.entries"})
    assert await shard_collections(cast("Database", cluster)) == 2
    assert await database["tags"].count_documents({}) == 2 * len(SHARD_KEYS)


async def test_few_accounts_have_no_zones(cluster: ShardedCluster, database: Database) -> None:
    """Else all that come later would be on the last shard."""
    await add_accounts(database, 30)
    assert await shard_collections(cast("Database", cluster)) == 0
    assert await database["tags"].count_documents({}) == 0
    zones = await read_zones(cast("Database", cluster))
    assert {zones.of(f"user-{n:05}") for n in range(30)} == {0}


async def test_beside_a_cluster_it_is_refused_and_there_is_one_zone(database: Database) -> None:
    with pytest.raises(MongoUnsuitable, match="mongos"):
        await shard_collections(database)
    await database["zones"].insert_one({"_id": "zones", "bounds": ["b"]})
    assert (await read_zones(database)).of("c") == Zones().of("c") == 0
