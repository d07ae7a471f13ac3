"""Events that neither Redis nor the spool takes: kept, tried again, and never lost unsaid."""

import asyncio
import math
from base64 import b64decode
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from libs.common.errors import AnswerWithheld, NothingRecordable
from libs.common.schemas.holds import Finished
from libs.common.storage.queue.event_queue import QUEUE
from libs.common.storage.redis.breakers import Breakers
from libs.common.storage.redis.client import Redis, RedisError
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.pipelining import NotReplicated, Transaction
from libs.common.storage.redis.shards import ONE
from services.gateway.admission.admissions import Admissions
from services.gateway.admission.without_redis import ClosedCalls
from services.gateway.spool.backlog import Backlog, Metered
from services.gateway.spool.spool import Spool
from services.gateway.usage.meter import Meter, NotDurable
from tests.fake_redis import fake_redis
from tests.unit.builders import event


class Holds(HoldStore):
    """Away when told so."""

    away = True
    replicas_lag = False

    async def load_scripts(self) -> None:
        self._check()
        await super().load_scripts()

    async def transact(self, transaction: Transaction) -> object:
        self._check()
        answers = await super().transact(transaction)
        if self.replicas_lag:
            raise NotReplicated("0 of 1 replicas acknowledged")
        return answers

    def _check(self) -> None:
        if self.away:
            raise RedisError("away")


class Calls:
    """Stands for the admissions: the closed calls, and their costs."""

    def __init__(self) -> None:
        self.closed: list[tuple[str, int]] = []

    def close_call(self, call_id: str, cost_nusd: int) -> None:
        self.closed.append((call_id, cost_nusd))

    def closed_calls(self) -> ClosedCalls:
        """Nothing counts here."""
        return {}

    def spool_is_drained(self, closed: ClosedCalls, *, except_shards: Collection[int] = ()) -> None:
        """Nothing counts here."""


class Stage:
    def __init__(self, redis: Redis, directory: Path, *, spool_bytes: int) -> None:
        self.redis = redis
        self.holds = Holds(redis)
        self.calls = Calls()
        self.spool = Spool(directory, max_bytes=spool_bytes)
        self.spool.open()
        # It lets everybody try again at once.
        self.breakers = Breakers(ONE, 0.0)

    def meter(self, *, client_wait_s: float = math.inf, close_s: float = 5) -> Meter:
        return Meter(
            self.holds,
            Backlog(self.spool),
            self.breakers,
            cast("Admissions", self.calls),
            client_wait_s=client_wait_s,
            close_s=close_s,
            drain_pause_s=0.01,
        )

    async def queued_jobs(self) -> int:
        return int(await self.redis.zcard(QUEUE))


def metered(call_id: str) -> Metered:
    finished = Finished(user_id="acme", call_id=call_id, key_id=None, cost_nusd=3, tokens=4)
    return Metered(event(call_id), finished)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A Redis that is away, and a spool without any room."""
    async with fake_redis() as redis:
        await HoldStore(redis).load_scripts()
        stage = Stage(redis, tmp_path, spool_bytes=1)
        yield stage
        stage.spool.close()


async def until_it_fails(meter: Meter) -> None:
    async with asyncio.timeout(5):
        while not meter.in_memory():
            await asyncio.sleep(0)


async def test_a_call_stays_open_until_its_event_is_durable(stage: Stage) -> None:
    meter = stage.meter()
    waiting = asyncio.create_task(meter.enqueue(metered("a")))
    await until_it_fails(meter)
    with pytest.raises(NothingRecordable) as refused:
        meter.require_writable("acme")
    assert refused.value.retry_after_s
    with pytest.raises(NotDurable, match="1 usage events"):
        await meter.check()
    assert not waiting.done()

    stage.holds.away = False
    await waiting
    assert await stage.queued_jobs() == 1
    meter.require_writable("acme")
    await meter.check()


async def test_a_client_that_waited_too_long_gets_an_error_and_its_event_is_kept(
    stage: Stage,
) -> None:
    meter = stage.meter(client_wait_s=0)
    for call_id in ("a", "b"):
        with pytest.raises(AnswerWithheld):
            await meter.enqueue(metered(call_id))
    assert meter.in_memory() == 2
    assert stage.calls.closed == []

    stage.holds.away = False
    draining = asyncio.create_task(meter.drain_spool())
    async with asyncio.timeout(5):
        while len(stage.calls.closed) < 2:
            await asyncio.sleep(0.01)
    draining.cancel()
    assert stage.calls.closed == [("a", 3), ("b", 3)]
    assert await stage.queued_jobs() == 2
    assert meter.in_memory() == 0


async def test_a_stopping_process_tries_until_its_end(stage: Stage) -> None:
    meter = stage.meter()
    meter.enqueue_nowait(metered("a"))
    await until_it_fails(meter)
    closing = asyncio.create_task(meter.close())
    await asyncio.sleep(0)
    stage.holds.away = False
    await closing
    assert await stage.queued_jobs() == 1


async def test_events_lost_with_the_process_can_be_posted_from_its_log(
    stage: Stage, tmp_path: Path
) -> None:
    meter = stage.meter(close_s=0)
    meter.enqueue_nowait(metered("a"))
    meter.enqueue_nowait(metered("b"))
    with capture_logs() as logs:
        await meter.close()
    lost = [line for line in logs if line["event"] == "usage.lost"]
    assert [line["call_id"] for line in lost] == ["a", "b"]
    assert {line["log_level"] for line in lost} == {"critical"}

    directory = tmp_path / "other"
    directory.mkdir()
    (directory / "recovered.spool").write_bytes(
        b"".join(b64decode(line["record"]) for line in lost)
    )
    other = Stage(stage.redis, directory, spool_bytes=1)
    other.holds.away = False
    assert await other.meter().drain_backlog() == 2
    assert await stage.queued_jobs() == 2
    other.spool.close()


async def test_new_calls_cannot_use_the_spool_room_of_open_ones(stage: Stage) -> None:
    meter = stage.meter()
    assert stage.spool.lacks_room is not None
    meter.require_writable("acme")
    stage.breakers.of("acme").failed()
    with pytest.raises(NothingRecordable):
        meter.require_writable("acme")


async def test_redis_is_probed_while_no_call_may_begin(stage: Stage) -> None:
    meter = stage.meter()
    stage.breakers.of("acme").failed()
    stage.holds.away = False
    draining = asyncio.create_task(meter.drain_spool())
    async with asyncio.timeout(5):
        while stage.breakers.of("acme").is_open:
            await asyncio.sleep(0.01)
    draining.cancel()
    meter.require_writable("acme")


async def test_an_unreplicated_event_is_spooled_while_redis_admits(tmp_path: Path) -> None:
    async with fake_redis() as redis:
        await HoldStore(redis).load_scripts()
        stage = Stage(redis, tmp_path, spool_bytes=1024**2)
        stage.breakers = Breakers(ONE, 60.0)
        stage.holds.away, stage.holds.replicas_lag = False, True
        meter = stage.meter()
        await meter.enqueue(metered("a"))
        assert not stage.spool.is_empty()
        assert not stage.breakers.of("acme").is_open
        meter.require_writable("acme")

        stage.holds.replicas_lag = False
        assert await meter.drain_backlog() == 1
        assert stage.spool.is_empty()
        # The ledger posts the same event once.
        assert await stage.queued_jobs() == 2
        await meter.close()
        stage.spool.close()
