"""Holds in several shards, of which some do not answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from libs.common.schemas.holds import Admission, OpenHold
from libs.common.storage.redis.client import Redis, RedisError
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.pipelining import Transaction
from tests.fake_redis import fake_redis
from tests.support.sharding import with_shards


class ShardedHolds(HoldStore):
    """Shards in `away` do not answer. `sent` has the shards of the transactions that went."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.away: set[int] = set()
        # Their replica has just become master: the first command finds it, and it has no scripts.
        self.taken_over: set[int] = set()
        self.asked_shards: list[int] = []
        self.sent: list[int] = []

    async def admit(self, user_id: str, *args: Any, **options: Any) -> Admission:
        self._check(self.shards.of(user_id))
        return await super().admit(user_id, *args, **options)

    async def announce_account(self, user_id: str) -> None:
        self._check(self.shards.of(user_id))
        await super().announce_account(user_id)

    async def renew(self, user_id: str, *args: Any, **options: Any) -> list[str]:
        self._check(self.shards.of(user_id))
        return await super().renew(user_id, *args, **options)

    async def retake(self, hold: OpenHold) -> None:
        self._check(self.shards.of(hold.user_id))
        await super().retake(hold)

    async def probe(self, shard: int) -> None:
        self._check(shard)
        await super().probe(shard)
        if shard in self.taken_over:
            await self._redis.script_flush()

    async def transact(self, transaction: Transaction) -> object:
        packed = b"".join(transaction.packed).decode("latin-1")
        shards = range(self.shards.count)
        (shard,) = (n for n in shards if self.shards.name("gateway:queue", n) in packed)
        self._check(shard)
        self.sent.append(shard)
        return await super().transact(transaction)

    def _check(self, shard: int) -> None:
        self.asked_shards.append(shard)
        if shard in self.away:
            raise RedisError("away")


@asynccontextmanager
async def sharded_redis() -> AsyncIterator[Redis]:
    """An empty server with four shards, which has the scripts."""
    async with fake_redis() as redis:
        with_shards(redis)
        await HoldStore(redis).load_scripts()
        yield redis
