"""While MongoDB or Redis is away nothing is lost, and nothing is posted twice after."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from libs.common.storage.mongo.driver import PyMongoError
from libs.common.storage.mongo.proofs import ProofStore
from libs.common.storage.queue.event_queue import QUEUE
from libs.common.storage.redis.client import RedisError
from services.ledger_worker.settings import Settings
from tests.servers import HOST, ServerProcess, mongo_server, redis_server, running
from tests.service.ledger_worker.worker_stage import (
    CALL_NUSD,
    Stage,
    make_events,
    open_stage,
    settings_for,
    working,
)
from tests.service.storage.masters import Name, tell
from tests.support.polling import eventually, eventually_in_thread


@pytest.fixture
async def outage(
    tmp_path: Path, mongo_uri: str, redis_url: str
) -> AsyncIterator[tuple[Stage, Settings, ServerProcess]]:
    """A stage with a MongoDB server of its own, which may be killed."""
    with running(mongo_server(tmp_path)) as server:
        async with open_stage(server.url, redis_url) as stage:
            await stage.prepare()
            yield stage, settings_for(server.url, redis_url), server


@pytest.fixture
async def redis_outage(
    tmp_path: Path, mongo_uri: str
) -> AsyncIterator[tuple[Stage, Settings, ServerProcess]]:
    """A stage with a Redis server of its own, which may be killed."""
    with running(redis_server(tmp_path)) as server:
        async with open_stage(mongo_uri, server.url) as stage:
            await stage.prepare()
            yield stage, settings_for(mongo_uri, server.url, worker_job_timeout_s=2), server


async def test_jobs_wait_while_mongodb_is_down(
    outage: tuple[Stage, Settings, ServerProcess],
) -> None:
    stage, settings, server = outage
    async with working(stage, settings) as worker:
        await stage.enqueue(make_events(3))
        await stage.drained()
        server.kill()
        for _ in range(5):
            await stage.enqueue(make_events(3))
        await stage.retried()
        assert await stage.redis.zcard(QUEUE) == 5
        server.start()
        await stage.drained()
        assert not worker.done()
    await stage.assert_exact("alice", 18)
    assert await stage.dead_letters.count() == 0
    assert await stage.spent_in_redis("alice") == 18 * CALL_NUSD


async def test_a_kill_of_mongodb_under_load_leaves_no_trace(
    outage: tuple[Stage, Settings, ServerProcess],
) -> None:
    stage, settings, server = outage
    async with working(stage, settings):
        for _ in range(60):
            await stage.enqueue(make_events(5))

        async def some_are_posted() -> bool:
            return len(await stage.entry_ids()) > 20

        await eventually(some_are_posted)
        server.kill()
        server.start()
        await stage.drained()
    await stage.assert_exact("alice", 300)


async def test_a_kill_of_redis_under_load_leaves_no_trace(
    redis_outage: tuple[Stage, Settings, ServerProcess],
) -> None:
    stage, settings, server = redis_outage
    async with working(stage, settings) as worker:
        for _ in range(60):
            await stage.enqueue(make_events(5))

        async def some_are_posted() -> bool:
            return len(await stage.entry_ids()) > 20

        await eventually(some_are_posted)
        server.kill()

        async def work_has_stopped() -> bool:
            before = len(await stage.entry_ids())
            await asyncio.sleep(0.3)
            return len(await stage.entry_ids()) == before

        await eventually(work_has_stopped)
        assert not worker.done()
        server.start()
        await stage.drained()
        assert not worker.done()
    await stage.assert_exact("alice", 300)
    assert await stage.spent_in_redis("alice") == 300 * CALL_NUSD


async def test_a_worker_can_stop_while_redis_is_down(
    redis_outage: tuple[Stage, Settings, ServerProcess],
) -> None:
    stage, settings, server = redis_outage
    async with working(stage, settings):
        server.kill()
    assert not await stage.entry_ids()


async def test_the_ledger_raises_when_mongodb_is_down_without_retrying(
    outage: tuple[Stage, Settings, ServerProcess],
) -> None:
    """The job decides when to try again; the driver's own transactions insist for two minutes."""
    stage, _, server = outage
    server.kill()
    async with asyncio.timeout(30):
        with pytest.raises(PyMongoError):
            await ProofStore(stage.database).sums("alice", 0, 1)


async def test_the_worker_follows_a_failover_that_closes_no_connection(
    tmp_path: Path, mongo_uri: str
) -> None:
    """A demoted master rejects its writes for ever, and the name points to another server."""
    for directory in ("first", "second"):
        (tmp_path / directory).mkdir()
    at_once = ("--repl-diskless-sync-delay", "0")
    first = redis_server(tmp_path / "first", *at_once)
    with running(first):
        link = ("--replicaof", f"{HOST} {first.port}")
        second = redis_server(tmp_path / "second", *at_once, *link)
        with running(second):
            async with Name.of(first) as name, open_stage(mongo_uri, name.url) as stage:
                await stage.prepare()
                settings = settings_for(mongo_uri, name.url, worker_job_timeout_s=2)
                async with working(stage, settings) as worker:
                    await stage.enqueue(make_events(3))
                    await stage.drained()
                    await eventually_in_thread(lambda: has_caught_up(first, second))
                    name.fail_over(second)
                    with suppress(RedisError):
                        # This connection leaves too.
                        await stage.redis.set("gateway:probe", "x")
                    await stage.enqueue(make_events(4))
                    await stage.drained()
                    assert not worker.done()
                await stage.assert_exact("alice", 7)


def has_caught_up(first: ServerProcess, second: ServerProcess) -> bool:
    replication = tell(second, "INFO", "replication")
    offset = tell(first, "INFO", "replication")["master_repl_offset"]
    return bool(
        replication["master_link_status"] == "up" and replication["slave_repl_offset"] >= offset
    )
