"""What cannot be posted goes to the dead letters, alone; the rest of its batch is posted."""

import msgspec
import pytest
from arq import ArqRedis

from libs.common.schemas.usage import TokenUsage, UsageEvent
from libs.common.storage.mongo.dead_letters import DeadLetter
from libs.common.storage.queue.event_queue import POST_JOB, QUEUE, encode_event, encode_job
from libs.common.storage.queue.replay import clear_posted, replay_all
from services.ledger_worker.settings import Settings
from tests.service.ledger_worker.worker_stage import (
    CALL_NUSD,
    NOW,
    Stage,
    altered,
    count_of,
    make_event,
    make_events,
    working,
)

GARBAGE = b"\xc1"
NOT_UTF8 = b"\x81\xa2\xff\xfe\x01"
ENDLESS_NESTING = b"\x91" * 200_000


async def letters_of(stage: Stage) -> list[DeadLetter]:
    return await stage.dead_letters.list(after=None, limit=100)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"v": 99}, "version 99"),
        ({"call_id": "not-a-uuid"}, "call_id"),
        ({"status": "invented"}, "ValidationError"),
        ({"usage": {"input_text": -5}}, "usage.input_text"),
        ({"usage": {"input_text": 2**53 + 1}}, "usage.input_text"),
        ({"usage": {"input_text": 2**53}}, "out of range"),
        ({"started_at": "2026-11-24T12:00:00"}, "time zone"),
        ({"started_at": "0001-01-01T00:00:00+14:00"}, "started_at"),
        ({"started_at": 5}, "ValidationError"),
        ({"http_status": 2**64 - 1}, "http_status"),
        ({"user_id": "nobody"}, "no account 'nobody'"),
    ],
)
async def test_only_the_poison_event_is_dead_lettered(
    stage: Stage, settings: Settings, changes: dict[str, object], reason: str
) -> None:
    poison = make_event()
    await stage.hold(poison)
    raw = altered(poison, **changes)
    good = make_events(3)
    await stage.enqueue_raws(encode_event(good[0]), raw, *map(encode_event, good[1:]))
    async with working(stage, settings):
        await stage.drained()
    await stage.assert_exact("alice", 3)
    [letter] = await letters_of(stage)
    assert (letter.kind, letter.raw, letter.size) == ("event", raw, len(raw))
    assert reason in letter.reason
    assert count_of(stage.metrics.dead_letters) == 1
    if not changes.keys() & {"call_id", "user_id"}:
        assert (letter.call_id, letter.user_id) == (poison.call_id, "alice")
        assert await stage.holds.held("alice") == 0


@pytest.mark.parametrize("raw", [GARBAGE, NOT_UTF8, b"\xa3abc", b"\xc0"])
async def test_invalid_bytes_do_not_affect_the_other_events(
    stage: Stage, settings: Settings, raw: bytes
) -> None:
    good = make_event()
    payload = b"\x92" + encode_event(good) + raw
    await stage.enqueue_payload(payload)
    async with working(stage, settings):
        await stage.drained()
    [letter] = await letters_of(stage)
    if letter.kind == "event":
        assert letter.raw == raw
        await stage.assert_exact("alice", 1)
    else:
        # msgpack says nowhere where such bytes would end, so the whole batch is kept.
        assert (letter.kind, letter.raw) == ("batch", payload)


async def test_an_event_mongodb_refuses_is_found_in_a_large_batch(
    stage: Stage, settings: Settings
) -> None:
    """An account whose spend has no room left makes MongoDB refuse the whole transaction."""
    await stage.add_account("full")
    await stage.database["accounts"].update_one(
        {"_id": "full"}, {"$set": {"spent_nusd": 2**63 - CALL_NUSD - 1}}
    )
    poison = [make_event("full"), make_event("full")]
    good = make_events(60)
    await stage.enqueue([*good[:20], poison[0], *good[20:50], poison[1], *good[50:]])
    async with working(stage, settings):
        await stage.drained()
    await stage.assert_exact("alice", 60)
    dead_lettered = {letter.call_id for letter in await letters_of(stage)}
    # The first of the two still fits.
    assert len(dead_lettered) == 1
    assert dead_lettered < {event.call_id for event in poison}


async def test_a_repeated_poison_event_is_one_letter(stage: Stage, settings: Settings) -> None:
    raw = altered(make_event(), v=99)
    async with working(stage, settings):
        for _ in range(3):
            await stage.enqueue_raws(raw)
            await stage.drained()
    [letter] = await letters_of(stage)
    assert letter.times == 3
    assert count_of(stage.metrics.dead_letters) == 1


@pytest.mark.parametrize(
    "payload", [b"", GARBAGE, b"\x01", b"\x92\x01", ENDLESS_NESTING, b"\x90 trailing"]
)
async def test_a_corrupt_batch_is_kept_whole(
    stage: Stage, settings: Settings, payload: bytes
) -> None:
    await stage.enqueue_payload(payload)
    async with working(stage, settings):
        await stage.drained()
    [letter] = await letters_of(stage)
    assert (letter.kind, letter.raw) == ("batch", payload)


def job_of(**changes: object) -> bytes:
    job: dict[str, object] = {
        "t": None,
        "f": POST_JOB,
        "a": [b"\x90"],
        "k": {},
        "et": 1_700_000_000_000,
    }
    return encode_job(job | changes)


@pytest.mark.parametrize(
    "job",
    [
        GARBAGE,
        NOT_UTF8,
        ENDLESS_NESTING,
        b"\x80\x04\x95 a pickle",
        job_of(f="events.unheard_of"),
        job_of(f=7),
        job_of(a=[]),
        job_of(a=[b"\x90", b"\x90"]),
        job_of(a=["text"]),
        job_of(k={"surprise": 1}),
        job_of(t="often"),
        job_of(et="late"),
        job_of(et=2**63),
        job_of(et=-1),
        job_of(version=2),
    ],
)
async def test_a_job_that_arq_would_drop_or_crash_on_is_kept_whole(
    stage: Stage, settings: Settings, job: bytes
) -> None:
    await stage.enqueue_raw_job(job)
    await stage.enqueue([make_event()])
    async with working(stage, settings) as worker:
        await stage.drained()
        assert not worker.done()
    [letter] = await letters_of(stage)
    assert (letter.kind, letter.raw) == ("job", job)
    await stage.assert_exact("alice", 1)


async def test_a_job_of_arqs_own_client_is_posted_whatever_its_tries(
    stage: Stage, settings: Settings
) -> None:
    arq = ArqRedis(stage.redis.connection_pool, job_serializer=encode_job)
    payload = msgspec.msgpack.encode([make_event()])
    await arq.enqueue_job(POST_JOB, payload, _queue_name=QUEUE, _job_try=2**63)
    async with working(stage, settings):
        await stage.drained()
    await stage.assert_exact("alice", 1)


async def test_an_event_too_large_for_a_document_is_dead_lettered_cut(
    stage: Stage, settings: Settings
) -> None:
    endless = altered(make_event(), usage={"service_tier": "x" * 17_000_000})
    await stage.enqueue_raws(endless, encode_event(make_event()))
    async with working(stage, settings):
        await stage.drained()
    await stage.assert_exact("alice", 1)
    [letter] = await letters_of(stage)
    assert letter.size == len(endless) > len(letter.raw)
    assert await replay_all(stage.dead_letters, stage.redis, NOW) == 0
    assert await stage.dead_letters.count() == 1


async def test_long_texts_are_cut_and_posted(stage: Stage, settings: Settings) -> None:
    """A client may send a model name of megabytes; its refusal must show all the same."""
    refused = make_event(
        status="refused", http_status=400, usage=None, model=None, requested_model="m" * 17_000_000
    )
    await stage.enqueue([refused])
    async with working(stage, settings):
        await stage.drained()
    await stage.assert_exact("alice", 1, nusd=0)


async def test_replay_posts_postable_events_and_dead_letters_the_rest_again(
    stage: Stage, settings: Settings
) -> None:
    curable = make_event("carol")
    incurable = altered(make_event(), v=99)
    batch, job = b"\xc1 batch", b"\xc1 job"
    await stage.enqueue_raws(encode_event(curable), incurable)
    await stage.enqueue_payload(batch)
    await stage.enqueue_raw_job(job)
    async with working(stage, settings):
        await stage.drained()
        assert await stage.dead_letters.count() == 4
        await stage.add_account("carol")
        assert await replay_all(stage.dead_letters, stage.redis, NOW) == 4
        await stage.drained()
    await stage.assert_exact("carol", 1)
    assert {letter.raw for letter in await letters_of(stage)} == {incurable, batch, job}
    [replayed] = await stage.dead_letters.list(after=None, limit=10, replayed=True)
    assert (replayed.raw, replayed.replayed_at) == (encode_event(curable), NOW)
    assert await clear_posted(stage.dead_letters, stage.entries) == 1
    assert await stage.dead_letters.list(after=None, limit=10, replayed=True) == []
    assert await stage.dead_letters.count() == 3


async def test_a_letter_stays_until_its_entry_is_posted(stage: Stage, settings: Settings) -> None:
    await stage.enqueue([make_event("carol")])
    async with working(stage, settings):
        await stage.drained()
    await stage.add_account("carol")
    assert await replay_all(stage.dead_letters, stage.redis, NOW) == 1
    assert await clear_posted(stage.dead_letters, stage.entries) == 0
    async with working(stage, settings):
        await stage.drained()
    assert await clear_posted(stage.dead_letters, stage.entries) == 1
    await stage.assert_exact("carol", 1)


async def test_a_letter_dead_lettered_again_survives_its_replay(
    stage: Stage, settings: Settings
) -> None:
    await stage.enqueue_raws(altered(make_event(), v=99))
    async with working(stage, settings):
        await stage.drained()
        [earlier] = await letters_of(stage)
        await stage.enqueue_raws(earlier.raw)
        await stage.drained()
    assert not await stage.dead_letters.remove(earlier)
    [letter] = await letters_of(stage)
    assert await stage.dead_letters.remove(letter)


def test_the_stage_alters_events_faithfully() -> None:
    event = make_event(usage=TokenUsage(input_text=1))
    assert msgspec.msgpack.decode(altered(event), type=UsageEvent) == event
