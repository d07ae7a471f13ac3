"""Whose an object is: by Redis, then by the ledger, and by nobody where neither can tell."""

import pytest

from libs.common.domain.entries import entry_of
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import TokenUsage, UsageEvent
from libs.common.storage.indexes import WORKER_INDEXES
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.provider_objects import ObjectStore, ProviderObject, remember
from libs.common.storage.redis.client import Redis, RedisError, open_redis
from libs.common.storage.redis.shards import shards_of
from tests.servers import free_port
from tests.unit.builders import NOW, account, event

_OBJECT = ProviderObject(model="house", deployment="dep_1", tokens=30)


@pytest.fixture
async def call(database: Database) -> UsageEvent:
    """A call of account `a`, that made a response and two other things."""
    await build_indexes(database, WORKER_INDEXES)
    for user_id in ("a", "b"):
        await AccountStore(database).insert(account(user_id=user_id))
    return event(
        user_id="a",
        requested_model="house",
        deployment="dep_1",
        response_id="resp_1",
        objects=("item_1", "container_1"),
        usage=TokenUsage(input_text=10, cache_read=5, output_text=15),
    )


async def post(database: Database, call: UsageEvent) -> None:
    posted = entry_of(call, {}, NOW)
    assert isinstance(posted, LedgerEntry)
    await LedgerStore(database).post([posted])


async def test_owners_are_in_redis_at_once_and_in_the_ledger_for_good(
    database: Database, redis: Redis, call: UsageEvent
) -> None:
    store = ObjectStore(redis, database)
    ids = ["resp_1", "item_1", "container_1"]
    assert await store.find("a", ids) == {}

    async with redis.pipeline() as commands:
        remember(commands, shards_of(redis), call)
        await commands.execute()
    assert await store.find("a", [*ids, "item_2"]) == dict.fromkeys(ids, _OBJECT)
    assert await store.find("b", ids) == {}

    await redis.flushall()
    await post(database, call)
    assert await store.find("a", [*ids, "item_2"]) == dict.fromkeys(ids, _OBJECT)
    assert await store.find("b", ids) == {}


async def test_calls_without_objects_are_not_stored(redis: Redis) -> None:
    shards = shards_of(redis)
    async with redis.pipeline() as commands:
        remember(commands, shards, event(user_id="a", requested_model="house", deployment="dep_1"))
        remember(
            commands, shards, event(user_id="a", response_id="resp_1", requested_model="house")
        )
        assert await commands.execute() == []


async def test_without_redis_only_the_ledger_counts(database: Database, call: UsageEvent) -> None:
    await post(database, call)
    async with open_redis(f"redis://127.0.0.1:{free_port()}/0") as away:
        store = ObjectStore(away, database)
        assert await store.find("a", ["item_1"]) == {"item_1": _OBJECT}
        with pytest.raises((RedisError, OSError)):
            await store.find("a", ["item_1", "item_2"])


@pytest.mark.parametrize("odd", ["", "x" * 257, "\u00e9", "\ud800", "a\nb"])
async def test_invalid_ids_have_no_owner(database: Database, redis: Redis, odd: str) -> None:
    assert await ObjectStore(redis, database).find("a", [odd]) == {}
