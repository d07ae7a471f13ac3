"""Calls of gateways that died become `abandoned` entries, each once."""

import asyncio

from libs.common.schemas.holds import LimitScope, PeriodLimit, Spent
from libs.common.storage.queue.event_queue import QUEUE, encode_event
from libs.common.storage.redis.holds import HoldStore
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.sweep import keep_sweeping, sweep, sweep_all
from tests.service.ledger_worker.worker_stage import (
    Stage,
    count_of,
    make_event,
    settings_for,
    working,
)
from tests.support.polling import eventually

SCOPE = LimitScope(budgets=(PeriodLimit("total", 10**15),))


async def abandon(stage: Stage, user_id: str, calls: int) -> None:
    """Calls that were admitted, and whose lease is over."""
    await stage.holds.seed(user_id, [Spent(period="total", nusd=0)])
    await stage.holds.announce_account(user_id)
    for _ in range(calls):
        event = make_event(
            user_id, status="abandoned", http_status=0, usage=None, usage_source="none"
        )
        await stage.holds.admit(
            user_id,
            event.call_id,
            hold_nusd=7,
            tokens=0,
            lease_s=60,
            scopes=[SCOPE],
            event=encode_event(event),
        )
    leases = f"gateway:{{{user_id}}}:leases"
    for call_id in await stage.redis.zrange(leases, 0, -1):
        await stage.redis.zadd(leases, {call_id: 1})


async def test_open_calls_are_left_alone(stage: Stage) -> None:
    event = make_event()
    await stage.hold(event, 5)
    assert await sweep(stage.redis, stage.holds, stage.metrics, "alice") == 0
    assert await stage.holds.held("alice") == 5
    assert await stage.queue_is_empty()


async def test_abandoned_calls_are_posted_once_however_often_they_are_found(
    stage: Stage, mongo_uri: str, redis_url: str
) -> None:
    await abandon(stage, "alice", 3)
    for _ in range(2):
        assert await sweep(stage.redis, stage.holds, stage.metrics, "alice") == 3
    assert await stage.holds.held("alice") == 0
    async with working(stage, settings_for(mongo_uri, redis_url)):
        await stage.drained()
        await stage.assert_exact("alice", 3, nusd=0)

        async def nothing_is_left() -> bool:
            return await sweep(stage.redis, stage.holds, stage.metrics, "alice") == 0

        await eventually(nothing_is_left)
    assert await stage.database["entries"].count_documents({"status": "abandoned"}) == 3


async def test_more_calls_than_one_script_clears_are_all_found(stage: Stage) -> None:
    await abandon(stage, "alice", 150)
    found = 0
    for _ in range(3):
        found = await sweep(stage.redis, stage.holds, stage.metrics, "alice")
    assert found == 150
    assert await stage.holds.held("alice") == 0


async def test_the_sweep_visits_every_account_until_stopped(stage: Stage) -> None:
    await abandon(stage, "alice", 1)
    await abandon(stage, "bob", 2)
    stop = asyncio.Event()
    sweeping = asyncio.create_task(
        keep_sweeping(stage.redis, stage.holds, stage.metrics, stop, every_s=60)
    )

    async def found_all() -> bool:
        return count_of(stage.metrics.abandoned) == 3

    await eventually(found_all)
    stop.set()
    await sweeping
    assert await stage.redis.zcard(QUEUE) == 2


async def test_a_round_visits_every_account(stage: Stage) -> None:
    users = [f"user-{n}" for n in range(120)]
    for user_id in users:
        await abandon(stage, user_id, 1)
    stop = asyncio.Event()
    sweeping = asyncio.create_task(
        keep_sweeping(stage.redis, stage.holds, stage.metrics, stop, every_s=60)
    )

    async def all_are_found() -> bool:
        return count_of(stage.metrics.abandoned) == len(users)

    await eventually(all_are_found)
    stop.set()
    await sweeping
    assert [await stage.holds.held(user_id) for user_id in users] == [0] * len(users)


async def test_only_noted_accounts_are_visited_a_page_at_a_time(stage: Stage) -> None:
    noted = {f"user-{n}" for n in range(2_500)}
    async with stage.redis.pipeline() as pipeline:
        for user_id in noted:
            pipeline.zadd("gateway:noted-accounts", {user_id: 1e10})
        await pipeline.execute()
    # Of others Redis may have spend.
    await stage.holds.seed("idle", [Spent(period="total", nusd=7)])
    pages = [page async for page in stage.holds.accounts(0)]
    assert {user_id for page in pages for user_id, _ in page} == noted
    assert max(map(len, pages)) < 2_000
    await abandon(stage, "user-7", 1)
    await stage.redis.config_resetstat()
    await sweep_all(stage.redis, stage.holds, stage.metrics, 0)
    assert count_of(stage.metrics.abandoned) == 1
    stats = await stage.redis.info("commandstats")
    # One command asks about ten of them, and visits those among whom one holds something.
    assert stats["cmdstat_exists"]["calls"] <= 300
    assert stats["cmdstat_evalsha"]["calls"] <= 20
    # Its lease has ended, and its event waits until it is posted.
    await sweep_all(stage.redis, stage.holds, stage.metrics, 0)
    assert count_of(stage.metrics.abandoned) == 2


async def test_an_account_that_holds_nothing_is_forgotten_after_its_visits(stage: Stage) -> None:
    holds = HoldStore(stage.redis)
    await holds.announce_account("bob")
    await stage.redis.zadd("gateway:noted-accounts", {"alice": 1})
    await sweep_all(stage.redis, holds, stage.metrics, 0)
    assert [user_id async for page in holds.accounts(0) for user_id, _ in page] == ["bob"]


async def test_workers_share_the_rounds(stage: Stage) -> None:
    await abandon(stage, "alice", 3)
    stop, workers = asyncio.Event(), [Metrics() for _ in range(3)]
    sweeping = [
        asyncio.create_task(keep_sweeping(stage.redis, stage.holds, metrics, stop, every_s=60))
        for metrics in workers
    ]

    async def one_has_found_them() -> bool:
        return any(count_of(metrics.abandoned) for metrics in workers)

    await eventually(one_has_found_them)
    stop.set()
    await asyncio.gather(*sweeping)
    assert sorted(count_of(metrics.abandoned) for metrics in workers) == [0, 0, 3]
