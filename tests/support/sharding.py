"""One server as a cluster's client sees it: with the names of several shards."""

import binascii

from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.shards import Shards, cluster_shards

_SLOTS = 16_384


def with_shards(redis: Redis, count: int = 4) -> Shards:
    """Gives the client so many shards; stores that are made from now on have them."""
    shards = cluster_shards(count)
    redis.connection_pool.shards = shards  # type: ignore[attr-defined]
    return shards


def user_of(shards: Shards, shard: int, name: str = "user") -> str:
    """The id of an account of the shard."""
    return next(user for n in range(10_000) if shards.of(user := f"{name}-{n}") == shard)


def slot_of(key: str) -> int:
    """As https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ says."""
    start = key.find("{")
    if start >= 0 and (end := key.find("}", start)) > start + 1:
        key = key[start + 1 : end]
    return binascii.crc_hqx(key.encode(), 0) % _SLOTS


async def shard_by_key(redis: Redis, shards: Shards) -> dict[str, int]:
    """All keys that Redis has, with their shards; fails at a key of no shard's slot."""
    slots = [slot_of(shards.name("", shard)) for shard in range(shards.count)]
    return {key: slots.index(slot_of(key)) for key in await keys_of(redis)}


async def keys_of(redis: Redis, pattern: str = "*") -> list[str]:
    """Of all servers."""
    return sorted([key.decode() async for key in redis.scan_iter(match=pattern, count=1000)])
