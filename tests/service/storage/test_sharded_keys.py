"""With shards, each account's keys lie in the slot of its shard, and every reader finds them."""

import pytest

from libs.common.schemas.holds import (
    Admitted,
    Finished,
    LimitScope,
    OpenHold,
    OverBudget,
    PeriodLimit,
    Spent,
)
from libs.common.storage.mongo.driver import Database
from libs.common.storage.provider_objects import ObjectStore, ProviderObject, remember
from libs.common.storage.redis.client import Redis, RedisError, open_redis
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.pipelining import Pipelined, Transaction
from libs.common.storage.redis.shards import Shards
from libs.common.storage.redis.spend import RedisSpendReader, forget_spend
from libs.common.storage.redis.standings import StandingStore
from tests.servers import HOST, free_port
from tests.support.sharding import shard_by_key, user_of, with_shards
from tests.unit.builders import event

BUDGET = PeriodLimit("total", 100)


@pytest.fixture
def shards(redis: Redis) -> Shards:
    return with_shards(redis)


@pytest.fixture
async def holds(redis: Redis, shards: Shards) -> HoldStore:
    store = HoldStore(redis, visited_s=0)
    await store.load_scripts()
    return store


async def admit(holds: HoldStore, user_id: str, call_id: str, *, lease_s: int = 60) -> object:
    await holds.announce_account(user_id)
    return await holds.admit(
        user_id,
        call_id,
        hold_nusd=60,
        tokens=5,
        lease_s=lease_s,
        scopes=[
            LimitScope(budgets=(BUDGET,), requests=9, tokens=99, parallel=9),
            LimitScope(key_id="key-1", budgets=(BUDGET,)),
        ],
        event=b"event",
    )


async def seed(holds: HoldStore, user_id: str) -> None:
    spent = [Spent(period="total", nusd=7), Spent(key_id="key-1", period="total", nusd=7)]
    await holds.seed(user_id, spent)


@pytest.fixture
async def users(shards: Shards, holds: HoldStore) -> list[str]:
    """An account of each shard, whose spend is known."""
    users = [user_of(shards, shard) for shard in range(shards.count)]
    for user_id in users:
        await seed(holds, user_id)
    return users


async def test_each_accounts_keys_lie_in_its_shard(
    redis: Redis, shards: Shards, holds: HoldStore, users: list[str]
) -> None:
    for user_id in users:
        assert isinstance(await admit(holds, user_id, "a"), Admitted)
        assert isinstance(await admit(holds, user_id, "b"), OverBudget)
        transaction = Transaction()
        finished = Finished(user_id=user_id, call_id="a", key_id="key-1", cost_nusd=3, tokens=4)
        holds.finish(transaction, finished)
        remember(transaction, shards, event(user_id=user_id, deployment="d", response_id="r"))
        await holds.transact(transaction)
        await holds.retake(
            OpenHold(
                user_id=user_id,
                call_id="c",
                hold_nusd=5,
                key_id=None,
                lease_s=60,
                parallel_scopes=("",),
                event=b"event",
            )
        )
        assert await holds.renew(user_id, ["a", "c"], lease_s=60) == []

    owners: dict[int, set[str]] = {}
    for key, shard in (await shard_by_key(redis, shards)).items():
        owners.setdefault(shard, set()).update(user for user in users if f"{{{user}}}" in key)
    assert owners == {shard: {user} for shard, user in enumerate(users)}

    assert [await users_to_sweep(holds, shard) for shard in range(4)] == [[user] for user in users]
    pairs: list[tuple[str, str | None]] = [(user, key) for user in users for key in (None, "key-1")]
    assert await holds.held_of_many(pairs) == [8, 3] * 4
    assert await holds.held(users[3], "key-1") == 3
    assert await holds.held_of_many([(users[0], None)]) == [8]
    standing = StandingStore(Pipelined(redis), shards)
    for user_id in users:
        found = await standing.look(user_id, [LimitScope(budgets=(BUDGET,))])
        assert isinstance(found, tuple)
        assert (found[0].held_nusd, found[0].spent_nusd, found[0].requests) == (8, (7,), 1)


async def test_accounts_of_a_shard_are_settled_together(
    redis: Redis, shards: Shards, holds: HoldStore
) -> None:
    users = [f"user-{n}" for n in range(99) if shards.of(f"user-{n}") == 2][:3]
    for user_id in users:
        await seed(holds, user_id)
        await admit(holds, user_id, "a")
    await holds.settle_all(
        {
            users[0]: (["a"], [Spent(period="total", nusd=10, revision=1)]),
            users[1]: (["a"], [Spent(period="total", nusd=20, revision=1)]),
            users[2]: (["other"], [Spent(key_id="key-1", period="total", nusd=30, revision=1)]),
        }
    )
    assert await holds.held_of_many([(user_id, None) for user_id in users]) == [0, 0, 60]
    reader = StandingStore(Pipelined(redis), shards)
    scopes = [LimitScope(budgets=(BUDGET,)), LimitScope(key_id="key-1", budgets=(BUDGET,))]
    found = [await reader.look(user_id, scopes) for user_id in users]
    assert [[each.spent_nusd for each in own] for own in found if isinstance(own, tuple)] == [
        [(10,), (7,)],
        [(20,), (7,)],
        [(7,), (30,)],
    ]


async def users_to_sweep(holds: HoldStore, shard: int) -> list[str]:
    return [user_id async for page in holds.accounts(shard) for user_id, _ in page]


async def test_an_account_is_swept_and_forgotten_in_its_own_shard(
    shards: Shards, holds: HoldStore
) -> None:
    mine, other = user_of(shards, 1), user_of(shards, 2)
    for user_id in (mine, other):
        await seed(holds, user_id)
        await admit(holds, user_id, "a", lease_s=0)
    assert await holds.sweep(mine, limit=10) == [b"event"]
    await holds.settle(mine, ["a"], ())
    assert await holds.sweep(mine, limit=10) == []
    assert await users_to_sweep(holds, 1) == []
    assert await users_to_sweep(holds, 2) == [other]


async def test_copies_of_spend_are_read_and_forgotten_in_all_shards(
    redis: Redis, shards: Shards, users: list[str]
) -> None:
    reader = RedisSpendReader(redis)
    copies = await reader.of({user: ["2026", "total"] for user in users})
    assert {of: copy.nusd for of, copy in copies.items()} == {(user, "total"): 7 for user in users}
    async with open_redis(f"redis://{HOST}:{free_port()}") as away:
        with pytest.raises(RedisError):
            await RedisSpendReader(away).of({users[1]: ["total"]})
        with_shards(away)
        assert await RedisSpendReader(away).of({users[1]: ["total"]}) == {}
    assert await forget_spend(redis) == 8
    assert await redis.keys("*") == []


async def test_objects_are_found_by_their_account_alone(
    redis: Redis, shards: Shards, database: Database
) -> None:
    store = ObjectStore(redis, database)
    users = [user_of(shards, 0), user_of(shards, 0, "other"), user_of(shards, 3)]
    for user_id in users[:2]:
        call = event(user_id=user_id, requested_model=user_id, deployment="d", response_id="resp_1")
        async with redis.pipeline() as commands:
            remember(commands, shards, call)
            await commands.execute()
    for user_id in users[:2]:
        kept = ProviderObject(model=user_id, deployment="d")
        assert await store.find(user_id, ["resp_1"]) == {"resp_1": kept}
    assert await store.find(users[2], ["resp_1"]) == {}


async def test_holds_of_other_shards_are_known_while_one_shard_fails(
    redis: Redis, shards: Shards, holds: HoldStore, users: list[str]
) -> None:
    for user_id in users:
        await admit(holds, user_id, "a")
    name = f"{shards.root_of(users[1])}:held"
    await redis.delete(name)
    await redis.zadd(name, {"of a wrong type": 1})
    owners: list[tuple[str, str | None]] = [(user, None) for user in users]
    assert await holds.held_of_many(owners) == [60, None, 60, 60]
    with pytest.raises(RedisError):
        await holds.held_of_many([(users[1], None), (users[1], "key-1")])
    assert await holds.held_of_many([]) == []
