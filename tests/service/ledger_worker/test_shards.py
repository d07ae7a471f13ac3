"""A ledger on several shards: every event is posted once, whichever worker works on its shard."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import pytest
from arq.constants import in_progress_key_prefix, job_key_prefix

from libs.common.settings import Secret
from libs.common.storage.queue.event_queue import queue_state
from libs.common.storage.queue.replay import replay_all
from libs.common.storage.redis.client import RedisError
from services.ledger_worker.health import CheckSettings, fault, health_keys
from services.ledger_worker.settings import Settings
from services.ledger_worker.sweep import keep_sweeping
from tests.clusters import Cluster, Node, begin_to_move, end_move, move_keys, promote, until
from tests.service.ledger_worker.worker_stage import (
    CALL_NUSD,
    NOW,
    Stage,
    make_event,
    make_events,
    open_stage,
    working,
)
from tests.support.polling import eventually
from tests.support.sharding import keys_of, shard_by_key, slot_of, user_of, with_shards


@asynccontextmanager
async def prepared(opened: Stage) -> AsyncIterator[Stage]:
    """One account on each of four shards."""
    stage = Stage(opened.database, opened.redis)
    await stage.prepare()
    for user_id in users_of(stage):
        await stage.add_account(user_id)
    yield stage


@pytest.fixture
async def clustered(mongo_uri: str, cluster_session: Cluster) -> AsyncIterator[Stage]:
    """The shards are those of a cluster."""
    cluster_session.empty()
    async with (
        open_stage(mongo_uri, f"{cluster_session.url}?shards=4") as opened,
        prepared(opened) as stage,
    ):
        yield stage
    # Other tests have another number of shards.
    cluster_session.empty()


@pytest.fixture
async def on_one_server(mongo_uri: str, redis_url: str) -> AsyncIterator[Stage]:
    async with open_stage(mongo_uri, redis_url) as opened:
        with_shards(opened.redis)
        async with prepared(opened) as stage:
            yield stage


@pytest.fixture(params=["clustered", "on_one_server"])
def sharded(request: pytest.FixtureRequest) -> Stage:
    stage: Stage = request.getfixturevalue(request.param)
    return stage


def users_of(stage: Stage) -> list[str]:
    return [user_of(stage.shards, shard) for shard in range(stage.shards.count)]


async def finish(stage: Stage, *user_ids: str) -> None:
    """Ends a call of each account as a gateway does, each shard's in a transaction."""
    for user_id in user_ids:
        event = make_event(user_id)
        await stage.hold(event)
        await stage.enqueue([event])


async def test_all_shards_are_posted_by_one_worker_and_leave_nothing_behind(
    sharded: Stage, settings: Settings
) -> None:
    users = users_of(sharded)
    await finish(sharded, *users, *users)
    async with working(sharded, settings):
        await sharded.drained()
        alive = [await sharded.redis.exists(k) for k in health_keys(sharded.shards, "test")]
        assert alive == [1, 1, 1, 1]
    for user_id in users:
        await sharded.assert_exact(user_id, 2)
        assert await sharded.spent_in_redis(user_id) == 2 * CALL_NUSD
        assert await sharded.holds.held(user_id) == 0
    assert await keys_of(sharded.redis, "arq:*") == []
    assert await keys_of(sharded.redis, "gateway:worker:*health*") == []


async def test_keys_written_by_the_worker_lie_in_the_slots_of_the_shards(
    sharded: Stage, settings: Settings
) -> None:
    """Else a cluster would reject it. A key that is read only lies where its job does."""
    users = users_of(sharded)
    async with working(sharded, settings):
        await finish(sharded, *users)
        await sharded.drained()
        records = await keys_of(sharded.redis, "gateway:shards:*")
        for name in ("gateway:posting-sessions", *records):
            await sharded.redis.delete(name)
        keys = await shard_by_key(sharded.redis, sharded.shards)
    assert {shard for key, shard in keys.items() if ":health:" in key} == {0, 1, 2, 3}


async def test_two_workers_that_both_believe_to_have_all_shards_post_once(
    sharded: Stage, settings: Settings
) -> None:
    """Neither sees the other: as while a share changes, or after a clock jumped."""
    users = users_of(sharded)
    for _ in range(10):
        await asyncio.gather(*(sharded.enqueue(make_events(3, user)) for user in users))

    async def keep_forgetting() -> None:
        while True:
            for shard in range(4):
                name = sharded.shards.name("gateway:worker:shard-workers", shard)
                await sharded.redis.delete(name)

    forgetting = asyncio.create_task(keep_forgetting())
    async with AsyncExitStack() as workers:
        for _ in range(2):
            await workers.enter_async_context(working(sharded, settings))
        await sharded.drained()
    forgetting.cancel()
    for user_id in users:
        await sharded.assert_exact(user_id, 30)


async def test_a_killed_workers_jobs_are_posted_once_by_another(
    sharded: Stage, settings: Settings
) -> None:
    """It had posted one of two jobs, and had said so neither to Redis nor to the other worker."""
    user, other = users_of(sharded)[1:3]
    posted, begun = make_event(user), make_event(other)
    for event in (posted, begun):
        await sharded.hold(event)
    jobs = [await sharded.enqueue([event], f"job-{n}") for n, event in enumerate((posted, begun))]
    for shard, job in zip((1, 2), jobs, strict=True):
        key = in_progress_key_prefix + sharded.queues[shard].prefix + job
        await sharded.redis.psetex(key, 500, b"1")
        await sharded.redis.zadd(
            sharded.shards.name("gateway:worker:shard-workers", shard), {"0-dead": 1}
        )
    async with working(sharded, settings):
        # The dead worker's posting, without its end in Redis.
        await sharded.enqueue([posted], "another")
        await sharded.drained()
    for user_id in (user, other):
        await sharded.assert_exact(user_id, 1)
        assert await sharded.holds.held(user_id) == 0
    assert await keys_of(sharded.redis, f"{job_key_prefix}*") == []


async def test_a_queue_that_cannot_be_read_stops_no_other(
    sharded: Stage, settings: Settings
) -> None:
    """As while the server of its shard is away."""
    users = users_of(sharded)
    await finish(sharded, *users)
    queue = sharded.queues[2].name
    await sharded.redis.rename(queue, f"{queue}:kept")
    await sharded.redis.set(queue, "of a wrong type")

    async def the_others_are_posted() -> bool:
        return [len(await sharded.entry_ids(user)) for user in users] == [1, 1, 0, 1]

    async with working(sharded, settings):
        await eventually(the_others_are_posted)
        await finish(sharded, users[0])
        await sharded.redis.rename(f"{queue}:kept", queue)
        await sharded.drained()
    for user_id, calls in zip(users, (2, 1, 1, 1), strict=True):
        await sharded.assert_exact(user_id, calls)
        assert await sharded.holds.held(user_id) == 0


async def test_the_sweep_enqueues_in_the_shard_of_each_account(
    sharded: Stage, settings: Settings
) -> None:
    users = users_of(sharded)
    events = [make_event(user_id, status="abandoned", usage=None) for user_id in users]
    for event in events:
        await sharded.holds.announce_account(event.user_id)
        await sharded.hold(event)
        root = sharded.shards.root_of(event.user_id)
        await sharded.redis.zadd(f"{root}:leases", {event.call_id: 1})
    # A shard that cannot be swept, as if its server were away.
    broken = sharded.shards.name("gateway:noted-accounts", 0)
    await sharded.redis.rename(broken, f"{broken}:kept")
    await sharded.redis.set(broken, "of a wrong type")
    stop = asyncio.Event()
    sweeping = asyncio.create_task(
        keep_sweeping(sharded.redis, sharded.holds, sharded.metrics, stop, every_s=0.1)
    )

    async def three_are_queued() -> bool:
        lengths = [await sharded.redis.zcard(queue.name) for queue in sharded.queues]
        return lengths == [0, 1, 1, 1]

    await eventually(three_are_queued)
    await sharded.redis.rename(f"{broken}:kept", broken)
    async with working(sharded, settings):
        for user_id in users:

            async def is_posted(user_id: str = user_id) -> bool:
                return len(await sharded.entry_ids(user_id)) == 1

            await eventually(is_posted)
        stop.set()
        await sweeping
        await sharded.drained()
    for user_id in users:
        await sharded.assert_exact(user_id, 1, nusd=0)
        assert await sharded.holds.held(user_id) == 0


async def test_a_dead_letter_is_replayed_into_its_shard(sharded: Stage, settings: Settings) -> None:
    user = user_of(sharded.shards, 2, "stranger")
    event = make_event(user)
    async with working(sharded, settings):
        await sharded.enqueue([event])
        await sharded.drained()
        (letter,) = await sharded.dead_letters.list(after=None, limit=10)
        assert letter.user_id == user
        await sharded.add_account(user)
        assert await replay_all(sharded.dead_letters, sharded.redis, NOW) == 1
        await sharded.drained()
    await sharded.assert_exact(user, 1)


async def test_a_worker_is_alive_while_it_works_on_any_shard(
    clustered: Stage, settings: Settings, cluster_session: Cluster
) -> None:
    check = CheckSettings(
        redis_url=Secret(f"{cluster_session.url}?shards=4"), worker_name=settings.name
    )
    async with working(clustered, settings):
        for shard, key in enumerate(health_keys(clustered.shards, settings.name)):
            await eventually(partial(clustered.redis.exists, key))
            if shard < 3:
                await clustered.redis.delete(key)
        assert await asyncio.to_thread(fault, check) is None
    assert "is not alive" in (await asyncio.to_thread(fault, check) or "")


def slot_of_shard(stage: Stage, shard: int) -> int:
    return slot_of(stage.queues[shard].name)


async def test_a_killed_master_stops_its_own_shards_alone_until_its_replica_takes_over(
    clustered: Stage, settings: Settings, cluster_session: Cluster
) -> None:
    users = users_of(clustered)
    master = cluster_session.master_of(slot_of_shard(clustered, 1))
    replica = cluster_session.replica_of(master)
    on_master = [master.serves(slot_of_shard(clustered, shard)) for shard in range(4)]
    await finish(clustered, *users)
    until(lambda: has_all(replica, master))
    master.server.kill()
    try:
        async with working(clustered, settings):
            others = [user for user, lost in zip(users, on_master, strict=True) if not lost]

            async def the_others_are_posted() -> bool:
                return all([len(await clustered.entry_ids(user)) == 1 for user in others])

            await eventually(the_others_are_posted)
            assert (await queue_state(clustered.redis)).shards_away == sum(on_master)
            assert await check_output(settings, f"{cluster_session.url}?shards=4") == (0, b"")
            await finish(clustered, *others)
            promote(replica)

            async def all_is_posted() -> bool:
                # The other masters hear of the new one a moment later.
                with suppress(RedisError):
                    return await clustered.queue_is_empty()
                return False

            await eventually(all_is_posted)
    finally:
        master.server.start()
        until(lambda: master.ask("INFO").get("master_link_status") == "up")
    for user_id, lost in zip(users, on_master, strict=True):
        await clustered.assert_exact(user_id, 1 if lost else 2)
        assert await clustered.holds.held(user_id) == 0
        assert await clustered.spent_in_redis(user_id) == CALL_NUSD * (1 if lost else 2)


async def check_output(settings: Settings, redis_url: str) -> tuple[int | None, bytes]:
    """The exit code of `--check`, and what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.ledger_worker", "--check"),
        env=os.environ | {"REDIS_URL": redis_url, "WORKER_NAME": settings.name},
        stdout=PIPE,
        stderr=STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output


def has_all(replica: Node, master: Node) -> bool:
    offsets = master.ask("INFO")["master_repl_offset"], replica.ask("INFO")["slave_repl_offset"]
    return bool(offsets[0] == offsets[1])


async def test_a_slot_that_moves_key_by_key_loses_and_doubles_nothing(
    clustered: Stage, settings: Settings, cluster_session: Cluster
) -> None:
    """Half of the shard's keys are at either node while the worker works and calls end."""
    user, slot = users_of(clustered)[2], slot_of_shard(clustered, 2)
    source = cluster_session.master_of(slot)
    target = cluster_session.others(source)[0]
    for _ in range(3):
        await finish(clustered, user)
    begin_to_move(slot, source, target)
    move_keys(slot, source, target, most=4)
    async with working(clustered, settings):
        ending = asyncio.gather(*(finish(clustered, user) for _ in range(3)))
        await finish(clustered, users_of(clustered)[0])
        await asyncio.to_thread(move_all, slot, source, target)
        await ending
        await clustered.drained()
    await clustered.assert_exact(user, 6)
    assert await clustered.holds.held(user) == 0
    assert await keys_of(clustered.redis, "arq:*") == []


def move_all(slot: int, source: Node, target: Node) -> None:
    while source.ask("CLUSTER", "COUNTKEYSINSLOT", slot):
        move_keys(slot, source, target, most=1)
    end_move(slot, source, target)
