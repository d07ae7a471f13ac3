"""The backlog: what is noted on disk is told to Redis, and what nobody can read is not lost."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

import msgspec
import pytest

from libs.common.domain.tags import MAX_TAGS
from libs.common.errors import Unavailable
from libs.common.schemas.holds import Finished, OpenHold
from libs.common.storage.queue.event_queue import encode_batch
from libs.common.storage.redis.breakers import Breakers
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.shards import ONE
from services.gateway.admission.admissions import Admissions
from services.gateway.admission.without_redis import ClosedCalls
from services.gateway.spool.backlog import Backlog, BacklogRecord, Metered
from services.gateway.spool.spool import Spool, SpoolFull
from services.gateway.usage.meter import Meter
from tests.fake_redis import fake_redis
from tests.unit.builders import event


def hold(call_id: str) -> OpenHold:
    return OpenHold(
        user_id="acme",
        call_id=call_id,
        hold_nusd=7,
        key_id=None,
        lease_s=60,
        parallel_scopes=(),
        event=f"event of {call_id}".encode(),
    )


class Drained:
    """What came out of a backlog."""

    def __init__(self) -> None:
        self.records: list[BacklogRecord] = []
        self.batches: list[Sequence[Metered]] = []
        self.dead_lettered: list[bytes] = []

    async def send(self, record: BacklogRecord, batch: Sequence[Metered]) -> frozenset[int]:
        self.records.append(record)
        self.batches.append(batch)
        return frozenset()

    async def dead_letter(self, raw: bytes) -> frozenset[int]:
        self.dead_lettered.append(raw)
        return frozenset()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path, max_bytes=100_000)
    spool.open()
    yield spool
    spool.close()


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    async with fake_redis() as redis:
        yield redis


async def drain(backlog: Backlog) -> Drained:
    out = Drained()
    await backlog.drain(out.send, out.dead_letter, lambda _: True)
    assert backlog.is_empty()
    return out


async def test_batches_and_holds_come_back_in_order(spool: Spool) -> None:
    backlog = Backlog(spool)
    finished = Finished(user_id="acme", call_id="a", key_id=None, cost_nusd=3, tokens=4)
    await backlog.record_hold(hold("a"))
    await backlog.add([Metered(event("a"), finished), Metered(event("b"), None)])
    out = await drain(backlog)
    assert [record.holds for record in out.records] == [(hold("a"),), ()]
    assert out.records[0].process == backlog.process
    assert out.batches == [[], [Metered(event("a"), finished), Metered(event("b"), None)]]
    assert out.dead_lettered == []


async def test_calls_that_begin_together_share_their_writes(spool: Spool) -> None:
    backlog = Backlog(spool)
    await asyncio.gather(*(backlog.record_hold(hold(str(n))) for n in range(50)))
    out = await drain(backlog)
    assert len(out.records) < 10
    call_ids = [each.call_id for record in out.records for each in record.holds]
    assert call_ids == [str(n) for n in range(50)]


async def test_an_unreadable_record_is_dead_lettered_and_the_rest_is_sent(spool: Spool) -> None:
    backlog = Backlog(spool)
    await spool.append(b"\xc1")
    await spool.append(msgspec.msgpack.encode(BacklogRecord(encode_batch([event("a")]), ())))
    await spool.append(msgspec.msgpack.encode(BacklogRecord(b"\xc1 no batch", (None,))))
    await backlog.record_hold(hold("b"))
    out = await drain(backlog)
    assert len(out.dead_lettered) == 3
    assert [record.holds for record in out.records] == [(hold("b"),)]


async def test_a_call_that_cannot_be_recorded_is_not_made(tmp_path: Path) -> None:
    backlog = Backlog(Spool(tmp_path, max_bytes=10))
    with pytest.raises(Unavailable):
        await backlog.record_hold(hold("a"))


class Calls:
    """Stands for the admissions: which calls are open, and of which Redis was told."""

    def __init__(self, *open_calls: str) -> None:
        self.open = open_calls
        self.known_to_redis: list[str] = []

    def is_open(self, call_id: str) -> bool:
        return call_id in self.open

    def redis_has_hold(self, call_id: str) -> None:
        self.known_to_redis.append(call_id)

    def closed_calls(self) -> ClosedCalls:
        return {}

    def spool_is_drained(self, closed: ClosedCalls, *, except_shards: Collection[int] = ()) -> None:
        assert (closed, except_shards) == ({}, {})


async def test_holds_are_taken_except_for_finished_calls(spool: Spool, redis: Redis) -> None:
    """What became of the calls of a dead process nobody knows."""
    mine, others = Backlog(spool), Backlog(spool)
    await mine.record_hold(hold("open"))
    await mine.record_hold(hold("over"))
    await others.record_hold(hold("orphan"))
    holds, calls = HoldStore(redis), Calls("open")
    meter = Meter(holds, mine, Breakers(ONE, 1.0), cast("Admissions", calls))
    assert await meter.drain_backlog() == 3
    assert await holds.renew("acme", ["open", "over", "orphan"], lease_s=60) == ["over"]
    assert calls.known_to_redis == ["open", "orphan"]
    assert [user async for page in holds.accounts(0) for user, _ in page] == ["acme"]
    assert await holds.held("acme") == 14


async def test_the_events_of_tagged_calls_fit_in_the_room_they_reserved(tmp_path: Path) -> None:
    """Also where no other room is left, and with as many tags as a call can have."""
    tags = tuple(f"{'é' * 60}{number:02}:{'é' * 65}" for number in range(MAX_TAGS))
    spool = Spool(tmp_path, max_bytes=4 * 32 * 1024)
    spool.open()
    backlog = Backlog(spool)
    for _ in range(3):
        backlog.reserve(tags)
    await backlog.keep_room()
    for size in (8_000, 100):
        with suppress(SpoolFull):
            while True:
                await spool.append(bytes(size))

    for number in range(3):
        tagged_event = msgspec.structs.replace(event(f"call-{number}"), tags=tags)
        await backlog.add([Metered(tagged_event, None)])
    assert len((await drain(backlog)).batches[-1]) == 1
    spool.close()
