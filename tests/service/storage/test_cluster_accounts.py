"""What is asked of many accounts at once, on a real cluster."""

from libs.common.schemas.holds import LimitScope, PeriodLimit, Spent
from libs.common.storage.redis.cluster_client import Routed
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.shards import shards_of
from libs.common.storage.redis.spend import RedisSpendReader

USERS = [f"user-{n}" for n in range(60)]
SCOPE = LimitScope(budgets=(PeriodLimit("total", 100),))


async def test_copies_of_spend_are_read_at_all_nodes(cluster_redis: Routed) -> None:
    holds = HoldStore(cluster_redis)
    for n, user_id in enumerate(USERS):
        await holds.seed(user_id, [Spent(period="total", nusd=n, revision=1)])
    copies = await RedisSpendReader(cluster_redis).of(
        {user_id: ["2026-11", "total"] for user_id in (*USERS, "nobody")}
    )
    assert {pair: copy.nusd for pair, copy in copies.items()} == {
        (user_id, "total"): n for n, user_id in enumerate(USERS)
    }


async def test_accounts_that_hold_something_are_swept_in_their_shards(
    cluster_redis: Routed,
) -> None:
    holds = HoldStore(cluster_redis)
    for user_id in USERS:
        await holds.announce_account(user_id)
    open_call, dead_call = USERS[7], USERS[31]
    for user_id, lease_s in ((open_call, 60), (dead_call, 0)):
        await holds.seed(user_id, [Spent(period="total", nusd=0)])
        await holds.admit(
            user_id, "a", hold_nusd=1, tokens=0, lease_s=lease_s, scopes=[SCOPE], event=b"event"
        )
    swept: dict[str, list[bytes]] = {}
    for shard in range(shards_of(cluster_redis).count):
        async for page in holds.accounts_to_sweep(shard):
            swept |= {user_id: await holds.sweep(user_id, limit=10) for user_id in page}
    assert {open_call, dead_call} <= swept.keys()
    assert len(swept) <= 20
    assert [user_id for user_id, events in swept.items() if events] == [dead_call]
