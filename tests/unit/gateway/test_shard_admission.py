"""A shard whose server is away: its accounts go by the policy, and the others do not notice."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from libs.common.errors import Unavailable
from libs.common.settings import Secret
from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.breakers import Breakers
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.shards import ONE
from services.gateway.admission.admissions import Admissions
from services.gateway.admission.call_hold import CallHold
from services.gateway.calls.attempts import Attempts
from services.gateway.calls.clock import SharedClock
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.calls.principal import Principal
from services.gateway.formats import CHAT
from services.gateway.settings import Settings
from services.gateway.spool.backlog import Backlog
from services.gateway.spool.spool import Spool
from tests.support.sharding import user_of
from tests.unit.builders import account, api_key, price
from tests.unit.gateway.new_calls import new_call
from tests.unit.gateway.sharded_holds import ShardedHolds, sharded_redis

PRICED = PricedRequest(
    request=CHAT.decode(b'{"model": "m"}'), prices={"d": price()}, input_tokens=1
)


class Stage:
    def __init__(self, redis: Redis, directory: Path, *, policy: str) -> None:
        self.holds = ShardedHolds(redis)
        self.shards = self.holds.shards
        self.spool = Spool(directory, max_bytes=1024**2)
        self.spool.open()
        self.breakers = Breakers(self.shards, 0.0)
        settings = Settings(
            mongo_uri=Secret("mongodb://127.0.0.1"),
            redis_url=Secret("redis://127.0.0.1"),
            admission_without_redis=cast("Any", policy),
        )
        # Accounts without budgets have nothing to be read.
        database = cast("Database", defaultdict(object))
        self.gate = Admissions(
            self.holds, database, Backlog(self.spool), self.breakers, SharedClock(), settings
        )

    async def call(self, shard: int) -> CallHold:
        user_id = user_of(self.shards, shard)
        principal = Principal(api_key(user_id=user_id), account(user_id))
        call = new_call(CHAT, now_ms=0, principal=principal)
        return await self.gate.admit(call, PRICED, (), Attempts())

    async def has_holds(self, *shards: int) -> list[bool]:
        return [await self.holds.held(user_of(self.shards, n)) > 0 for n in shards]


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    async with sharded_redis() as redis:
        yield redis


async def test_only_its_own_accounts_are_refused_or_admitted_by_the_policy(
    redis: Redis, tmp_path: Path
) -> None:
    stage = Stage(redis, tmp_path, policy="closed")
    stage.holds.away = {1}
    with pytest.raises(Unavailable):
        await stage.call(1)
    for shard in (0, 2, 3):
        await stage.call(shard)
    assert await stage.has_holds(0, 2, 3) == [True] * 3
    assert [breaker.is_open for breaker in stage.breakers.by_shard] == [False, True, False, False]
    assert stage.breakers.any_open()
    assert not stage.breakers.shared.is_open
    stage.spool.close()


async def test_leases_of_other_shards_are_renewed_and_their_holds_taken_again(
    redis: Redis, tmp_path: Path
) -> None:
    stage = Stage(redis, tmp_path, policy="open")
    stage.holds.away = {0, 1}
    await stage.call(0)
    await stage.call(1)
    renewing = asyncio.create_task(stage.gate.renew_leases())
    # Calls of a shard that never was away ask for no renewal of the others'.
    await stage.call(2)
    stage.holds.asked_shards.clear()
    for _ in range(10):
        await asyncio.sleep(0)
    assert stage.holds.asked_shards == []

    stage.holds.away = {0}
    await stage.call(1)
    async with asyncio.timeout(5):
        while stage.holds.asked_shards.count(2) < 2 or not all(await stage.has_holds(1)):
            await asyncio.sleep(0)
    assert 0 in stage.holds.asked_shards
    held = await stage.holds.held(user_of(stage.shards, 1))
    one = await stage.holds.held(user_of(stage.shards, 2))
    assert held == 2 * one > 0
    renewing.cancel()
    stage.spool.close()


def test_a_single_server_has_one_breaker_for_all() -> None:
    breakers = Breakers(ONE, 1.0)
    assert breakers.of("a") is breakers.of("b") is breakers.shared is breakers.by_shard[0]
    assert not breakers.any_open()
    breakers.of("a").failed()
    assert breakers.any_open()
