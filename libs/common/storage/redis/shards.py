"""Names of keys on a Redis Cluster, whose scripts and transactions use the keys of one slot.

A shard is a hash tag: the part in braces, from which Redis takes a key's slot. All keys of an
account are in one shard, and so is the queue that its events wait in, with that queue's jobs. A
single server has one shard without a tag, and its names have no trace of shards.

Invariants: a name never changes while the number of shards is the same, and no two accounts have
names in common.
"""

import zlib
from itertools import count as count_from

import msgspec
from redis.asyncio import Redis

from libs.common.storage.redis.key_slots import SLOTS, slot_of

MAX_SHARDS = 1024


class Shards(msgspec.Struct, frozen=True):
    """The tags of the shards, in their order; none for a single server's only shard."""

    tags: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.tags) or 1

    def of(self, user_id: str) -> int:
        """The account's shard, from 0."""
        return zlib.crc32(user_id.encode()) % len(self.tags) if self.tags else 0

    def root_of(self, user_id: str) -> str:
        """The prefix of the account's keys. An account's id has no braces."""
        if not self.tags:
            return f"gateway:{{{user_id}}}"
        return f"gateway:{{{self.tags[self.of(user_id)]}}}:{{{user_id}}}"

    def name(self, key: str, shard: int) -> str:
        """The name of a key that each shard has, such as the queue."""
        return f"{key}:{{{self.tags[shard]}}}" if self.tags else key

    def record(self, shard: int) -> str:
        """The name of the key that holds the number of shards of a cluster, in the shard's slot."""
        return f"gateway:shards:{{{self.tags[shard]}}}"

    def job_id(self, job_id: str, shard: int) -> str:
        """The id of a job in the shard's queue: arq derives the names of keys from it."""
        return f"{{{self.tags[shard]}}}{job_id}" if self.tags else job_id


ONE = Shards(())


def shards_of(redis: Redis) -> Shards:
    """The shards of the client's accounts: a cluster's pool has them as its attribute `shards`."""
    shards: Shards = getattr(redis.connection_pool, "shards", ONE)
    return shards


def cluster_shards(count: int) -> Shards:
    """Shards whose slots are spread evenly: each lies in its own of `count` equal ranges of slots.

    `count` is from 1 to MAX_SHARDS.
    """
    if not 1 <= count <= MAX_SHARDS:
        raise ValueError(f"there may be 1 to {MAX_SHARDS} shards, not {count}")
    tags: dict[int, str] = {}
    numbers = count_from()
    while len(tags) < count:
        tag = str(next(numbers))
        tags.setdefault(slot_of(tag) * count // SLOTS, tag)
    return Shards(tuple(tags[place] for place in range(count)))
