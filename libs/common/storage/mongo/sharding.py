"""Places the ledger's collections on the shards of a MongoDB cluster.

They are sharded by the account, in ranges of user_id: each shard has a zone, which is the same
range in all of these collections, so that all documents of an account are on one shard. Everything
else stays on the database's primary shard.

A transaction of several shards is as correct as one of one shard, and commits in two phases.
So where the zones lie concerns speed alone: `read_zones` may be out of date.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

import structlog

from libs.common.storage.mongo.driver import (
    ASCENDING,
    Database,
    Document,
    MaxKey,
    MinKey,
    MongoUnsuitable,
    is_router,
)

# The first field of each key is the account. Each has an index that begins with these fields, or
# is the id. What is upserted has all of them in its condition.
SHARD_KEYS: Mapping[str, tuple[str, ...]] = {
    "accounts": ("_id",),
    "entries": ("user_id", "started_at", "_id"),
    "spend": ("user_id", "period"),
    "rollups": ("user_id", "key_id", "day"),
    # An id begins with the account, or an account of the posting.
    "rollup_values": ("_id",),
    "rollup_segments": ("_id",),
}
NO_CLUSTER = "MONGO_URI does not name a sharded cluster's mongos"
_ZONE = "gateway-"
# Accounts a zone.
_FEW = 100

log = structlog.get_logger(__name__)


class Zones:
    """`bounds` are the least user_ids of all zones but the first, in order."""

    def __init__(self, bounds: Sequence[str] = ()) -> None:
        self._bounds = tuple(bounds)

    def of(self, user_id: str) -> int:
        return bisect_right(self._bounds, user_id)


ONE_ZONE = Zones()


async def read_zones(database: Database) -> Zones:
    """As `shard_collections` set them; one zone where it never ran, and beside a cluster."""
    if not await is_router(database):
        return ONE_ZONE
    document = await database["zones"].find_one({"_id": "zones"})
    return Zones(() if document is None else document["bounds"])


async def shard_collections(database: Database) -> int:
    """Shards what is not sharded yet, and gives each shard its zone. Returns how many zones.

    It may be repeated, and goes on where it was stopped: each zone gets as many accounts as any
    other, and MongoDB moves documents meanwhile. Of few accounts there are no zones: then MongoDB
    spreads each collection by itself. Raises MongoUnsuitable, and PyMongoError where the user may
    not do so.
    """
    admin = database.client.admin
    if not await is_router(database):
        raise MongoUnsuitable(NO_CLUSTER)
    shards = sorted(each["_id"] for each in (await admin.command("listShards"))["shards"])
    bounds = await _even_bounds(database, len(shards))
    ranges = zone_ranges(database.name, bounds)
    names = {"$in": [f"{database.name}.{name}" for name in SHARD_KEYS]}
    tags = await database.client["config"]["tags"].find({"ns": names}).to_list(None)
    existing = [{name: tag[name] for name in ("ns", "min", "max", "tag")} for tag in tags]
    stale = [_range_command(tag | {"tag": None}) for tag in existing if tag not in ranges]
    for command in (*shard_commands(database.name, shards), *stale, *map(_range_command, ranges)):
        log.info("sharding.commanded", command=next(iter(command)), of=next(iter(command.values())))
        await admin.command(command)
    await database["zones"].update_one({"_id": "zones"}, {"$set": {"bounds": bounds}}, upsert=True)
    return len(ranges) // len(SHARD_KEYS)


def shard_commands(database: str, shards: Sequence[str]) -> list[Document]:
    """For the database `admin`. One that was done changes nothing."""
    zones = [{"addShardToZone": shard, "zone": _name(n)} for n, shard in enumerate(shards)]
    keys = [
        {"shardCollection": f"{database}.{name}", "key": dict.fromkeys(key, ASCENDING)}
        for name, key in SHARD_KEYS.items()
    ]
    return [*zones, *keys]


def zone_ranges(database: str, bounds: Sequence[str]) -> list[Document]:
    """As `config.tags` has them, of all collections."""
    if not bounds:
        return []
    edges: list[str | MinKey | MaxKey] = [MinKey(), *bounds, MaxKey()]
    return [
        {
            "ns": f"{database}.{name}",
            "min": _edge(key, edges[n]),
            "max": _edge(key, edges[n + 1]),
            "tag": _name(n),
        }
        for name, key in SHARD_KEYS.items()
        for n in range(len(edges) - 1)
    ]


def _range_command(tag: Document) -> Document:
    zone_range = {"min": tag["min"], "max": tag["max"], "zone": tag["tag"]}
    return {"updateZoneKeyRange": tag["ns"]} | zone_range


def _name(zone: int) -> str:
    return f"{_ZONE}{zone}"


def _edge(key: Sequence[str], at: str | MinKey | MaxKey) -> Document:
    """All that is of the account `at`, and of those after it, is not below this."""
    rest: MinKey | MaxKey = MaxKey() if isinstance(at, MaxKey) else MinKey()
    return {key[0]: at} | dict.fromkeys(key[1:], rest)


async def _even_bounds(database: Database, zones: int) -> list[str]:
    """With as many accounts in each zone; none where there are few accounts."""
    accounts = database["accounts"]
    number = await accounts.count_documents({})
    if number < _FEW * zones:
        return []
    bounds: list[str] = []
    for n in range(1, zones):
        cursor = accounts.find({}, {"_id": 1}).sort("_id", ASCENDING).skip(number * n // zones)
        bounds += [document["_id"] for document in await cursor.limit(1).to_list(1)]
    return bounds
