"""A queue for each shard: whose job goes where, and what is said of all of them together."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, cast
from uuid import UUID

import pytest
from arq.constants import job_key_prefix

from libs.common.schemas.correction import CorrectionOrder, RepriceOrder
from libs.common.storage.mongo.dead_letters import DeadLetter, DeadLetterStore, new_letter
from libs.common.storage.queue.correction_queue import CorrectionQueue
from libs.common.storage.queue.event_queue import (
    QUEUE,
    QueueState,
    decode_job,
    encode_batch,
    encode_event,
    enqueue_batch,
    enqueue_swept,
    queue_is_empty,
    queue_state,
    queues_of,
)
from libs.common.storage.queue.recordings import RecordingQueue
from libs.common.storage.queue.replay import enqueue_letters
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.shards import ONE, Shards
from tests.fake_redis import fake_redis
from tests.support.sharding import shard_by_key, user_of, with_shards
from tests.unit.builders import NOW, event


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    async with fake_redis() as fake:
        yield fake


@pytest.fixture
def shards(redis: Redis) -> Shards:
    return with_shards(redis)


async def waiting(redis: Redis, shards: Shards) -> Mapping[int, list[str]]:
    """The functions of each shard's jobs; fails if a job's key lies in another shard."""
    jobs_by_shard = {}
    for shard, queue in enumerate(queues_of(shards)):
        ids = [id_.decode() for id_ in await redis.zrange(queue.name, 0, -1)]
        jobs = [await redis.get(job_key_prefix + id_) for id_ in ids]
        jobs_by_shard[shard] = sorted(decode_job(job)["f"] for job in jobs if job is not None)
        assert len(jobs_by_shard[shard]) == len(ids)
    # Fails at a key of another slot.
    await shard_by_key(redis, shards)
    return jobs_by_shard


def test_a_single_server_has_one_queue_of_the_same_name_as_ever() -> None:
    (queue,) = queues_of(ONE)
    assert (queue.name, queue.prefix) == (QUEUE, "") == ("gateway:queue", "")


async def test_the_state_is_that_of_all_shards(redis: Redis, shards: Shards) -> None:
    assert await queue_is_empty(redis)
    assert await queue_state(redis) == QueueState(jobs=0, oldest_ms=None, shards_away=0)
    for shard in (1, 3, 3):
        async with redis.pipeline() as pipeline:
            enqueue_batch(pipeline, queues_of(shards)[shard], f"job-{shard}", encode_batch([]))
            await pipeline.execute()
    state = await queue_state(redis)
    assert (state.jobs, state.shards_away) == (2, 0)
    assert state.oldest_ms is not None
    assert not await queue_is_empty(redis)
    assert await waiting(redis, shards) == {0: [], 1: ["events.post"], 2: [], 3: ["events.post"]}


async def test_swept_events_wait_once_in_their_accounts_shard(redis: Redis, shards: Shards) -> None:
    queue = queues_of(shards)[2]
    for _ in range(2):
        await enqueue_swept(redis, queue, [b"\x01", b"\x02"])
    assert (await waiting(redis, shards))[2] == ["events.post"]
    assert (await queue_state(redis)).jobs == 1


async def test_a_correction_waits_in_its_accounts_shard(redis: Redis, shards: Shards) -> None:
    orders = CorrectionQueue(redis)
    for shard in (0, 2, 2):
        await orders.correct(
            CorrectionOrder(
                entry_id=f"entry-{shard}",
                user_id=user_of(shards, shard),
                kind="credit",
                cost_nusd=1,
                corrects=None,
                reason="",
                made_by="",
                at=NOW,
            )
        )
    await orders.reprice(UUID(int=1), RepriceOrder(entry_ids=(), reason="", made_by=""))
    assert await waiting(redis, shards) == {
        0: ["corrections.post", "corrections.reprice"],
        1: [],
        2: ["corrections.post"],
        3: [],
    }


async def test_recordings_are_spread_and_bounded_in_each_shard(
    redis: Redis, shards: Shards
) -> None:
    recordings = RecordingQueue(redis, max_jobs=8)
    results = [await recordings.put(f"job-{number}", b"x") for number in range(100)]
    assert sum(results) == 8
    assert await waiting(redis, shards) == dict.fromkeys(range(4), ["recordings.store"] * 2)


class _Letters:
    """Takes what is said to be replayed."""

    async def mark_replayed(self, letter: DeadLetter, now: object) -> None:
        assert now == NOW


async def test_a_letter_is_replayed_in_its_accounts_shard(redis: Redis, shards: Shards) -> None:
    raw = encode_event(event())
    fields: dict[str, Any] = {"reason": "", "job_id": "", "buried_at": NOW}
    dead_letters = [
        new_letter("event", raw, user_id=user_of(shards, 3), call_id="a", **fields),
        new_letter("batch", b"\xc1", user_id=None, call_id=None, **fields),
        new_letter("correction", b"\xc1", user_id=None, call_id=None, **fields),
    ]
    letters = cast("DeadLetterStore", _Letters())
    assert await enqueue_letters(dead_letters, letters, redis, NOW) == 3
    assert await waiting(redis, shards) == {
        0: ["corrections.post", "events.post"],
        1: [],
        2: [],
        3: ["events.post"],
    }
