"""A Redis at `maxmemory` that may evict nothing: what fills it is posted all the same."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from redis.exceptions import OutOfMemoryError

from libs.common.schemas.holds import OpenHold
from libs.common.storage.queue.event_queue import QUEUE, encode_event
from libs.common.storage.redis.client import Redis, memory_ratio
from libs.common.storage.redis.session_leases import SessionLeases
from services.ledger_worker.settings import Settings
from services.ledger_worker.sweep import keep_sweeping, sweep
from tests.servers import ServerProcess, redis_server, running
from tests.service.ledger_worker.test_sweep import abandon
from tests.service.ledger_worker.worker_stage import (
    Stage,
    count_of,
    make_event,
    make_events,
    open_stage,
    settings_for,
    working,
)
from tests.support.polling import eventually


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running(redis_server(tmp_path, "--maxmemory-policy", "noeviction")) as server:
        yield server


@pytest.fixture
def settings(mongo_uri: str, server: ServerProcess) -> Settings:
    return settings_for(mongo_uri, server.url)


@pytest.fixture
async def stage(mongo_uri: str, server: ServerProcess) -> AsyncIterator[Stage]:
    async with open_stage(mongo_uri, server.url) as opened:
        await opened.prepare()
        yield opened


async def fill(redis: Redis) -> None:
    """Nothing that is freed makes it less full."""
    await redis.config_set("maxmemory", "1")
    with pytest.raises(OutOfMemoryError):
        await redis.set("any", b"")


async def test_the_queue_is_drained_and_holds_are_released(
    stage: Stage, settings: Settings
) -> None:
    events = make_events(100)
    for event in events:
        await stage.hold(event)
    for n in range(0, 100, 5):
        await stage.enqueue(events[n : n + 5])
    await fill(stage.redis)

    async with working(stage, settings):
        await stage.drained()

    await stage.assert_exact("alice", 100)
    assert await stage.holds.held("alice") == 0
    assert await stage.redis.keys("arq:*") == []


async def test_a_failed_job_is_requeued(stage: Stage, settings: Settings) -> None:
    await stage.redis.set("gateway:{alice}:leases", b"of a wrong type")
    await stage.enqueue([make_event()])
    await fill(stage.redis)

    async with working(stage, settings):
        await stage.retried()
        await stage.redis.delete("gateway:{alice}:leases")
        await stage.drained()
    await stage.assert_exact("alice", 1)


async def test_calls_of_dead_gateways_are_abandoned(stage: Stage) -> None:
    event = make_event(status="abandoned", http_status=0, usage=None, usage_source="none")
    hold = OpenHold(
        user_id="alice",
        call_id=event.call_id,
        hold_nusd=7,
        key_id=None,
        lease_s=0,
        parallel_scopes=(),
        event=encode_event(event),
    )
    await stage.holds.announce_account("alice")
    await stage.holds.retake(hold)
    await fill(stage.redis)

    async def swept() -> bool:
        return await sweep(stage.redis, stage.holds, stage.metrics, "alice") == 1

    await eventually(swept)
    assert await stage.holds.held("alice") == 0
    # Until it is posted, the same event again is the same job.
    assert await swept()
    assert await stage.redis.zcard(QUEUE) == 1


async def test_leases_of_calls_and_sessions_are_renewed(stage: Stage) -> None:
    event = make_event()
    await stage.hold(event)
    await fill(stage.redis)
    leases = SessionLeases(stage.redis)

    await stage.holds.announce_account("alice")
    assert await stage.holds.renew("alice", [event.call_id], lease_s=60) == []
    assert await leases.renew(UUID(event.call_id), lease_ms=-1) == [UUID(event.call_id)]


async def test_the_metrics_report_the_memory_used(stage: Stage) -> None:
    assert await memory_ratio(stage.redis) == 0
    await stage.redis.config_set("maxmemory", "1gb")
    assert 0 < await memory_ratio(stage.redis) < 0.5
    await fill(stage.redis)
    assert await memory_ratio(stage.redis) > 1


async def test_no_further_calls_are_held(stage: Stage) -> None:
    """What takes memory is refused, and changes nothing."""
    await stage.hold(make_event())
    held = await stage.holds.held("alice")
    await fill(stage.redis)
    with pytest.raises(OutOfMemoryError):
        await stage.hold(make_event())
    with pytest.raises(OutOfMemoryError):
        await stage.enqueue([make_event()])
    assert await stage.holds.held("alice") == held


async def test_a_full_redis_is_swept(stage: Stage) -> None:
    await abandon(stage, "alice", 2)
    await fill(stage.redis)
    stop = asyncio.Event()
    sweeping = asyncio.create_task(
        keep_sweeping(stage.redis, stage.holds, stage.metrics, stop, every_s=60)
    )

    async def found_all() -> bool:
        return count_of(stage.metrics.abandoned) == 2

    await eventually(found_all)
    stop.set()
    await sweeping
