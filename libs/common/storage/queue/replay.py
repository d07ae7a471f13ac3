"""Replays dead letters, and removes the letters whose entries are posted."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.storage.mongo.dead_letters import DeadLetter, DeadLetterStore
from libs.common.storage.mongo.entries import EntryStore
from libs.common.storage.queue.event_queue import (
    CORRECT_JOB,
    REPRICE_JOB,
    batch_of,
    enqueue_batch,
    enqueue_job,
    enqueue_payload,
    queues_of,
    split_batch,
)
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.shards import shards_of

_PAGE = 100
# Letters whose posting is checked in one run.
_MAX_CLEARED = 1_000


class _EntryId(msgspec.Struct, frozen=True):
    entry_id: str


class _CallId(msgspec.Struct, frozen=True):
    call_id: str


_decode_entry_id = msgspec.msgpack.Decoder(_EntryId).decode
_decode_call_id = msgspec.msgpack.Decoder(_CallId).decode


async def replay_all(letters: DeadLetterStore, redis: Redis, now: datetime) -> int:
    """Replays all waiting letters. Returns how many were put on the queue."""
    replayed, after = 0, None
    while page := await letters.list(after=after, limit=_PAGE):
        after = page[-1].letter_id
        replayed += await enqueue_letters(page, letters, redis, now)
    return replayed


async def enqueue_letters(
    dead_letters: Iterable[DeadLetter], letters: DeadLetterStore, redis: Redis, now: datetime
) -> int:
    """Puts letters whose payload is complete on the queue. Returns how many.

    A letter that fails again is dead-lettered again. It is marked after it is on the queue: a crash
    in between delivers it twice, which posting tolerates.
    """
    replayed = 0
    for letter in dead_letters:
        if letter.size == len(letter.raw):
            await _enqueue(letter, redis)
            await letters.mark_replayed(letter, now)
            replayed += 1
    return replayed


async def clear_posted(letters: DeadLetterStore, entries: EntryStore) -> int:
    """Removes replayed letters whose entries are in the ledger. Returns how many."""
    removed, after = 0, None
    for _ in range(_MAX_CLEARED // _PAGE):
        page = await letters.list(after=after, limit=_PAGE, replayed=True)
        for letter in page:
            after = letter.letter_id
            ids = _entry_ids(letter)
            if ids is not None and len(await entries.existing_ids(ids)) == len(ids):
                removed += await letters.remove(letter)
        if len(page) < _PAGE:
            break
    return removed


def _entry_ids(letter: DeadLetter) -> Sequence[str] | None:
    """The ids of the letter's entries; None if they cannot be read."""
    try:
        match letter.kind:
            case "event":
                return [_decode_call_id(letter.raw).call_id]
            case "batch":
                return sorted({_decode_call_id(raw).call_id for raw in split_batch(letter.raw)})
            case "correction":
                return [_decode_entry_id(letter.raw).entry_id]
            case "reprice":
                # A re-price order makes corrections as they fall due, and no entry of its own.
                return []
            case "job":
                return None
    except UNREADABLE:
        return None


async def _enqueue(letter: DeadLetter, redis: Redis) -> None:
    # An earlier replay of the letter may still wait, so each replay has its own job id.
    job_id = f"replay-{letter.letter_id}-{letter.times}"
    shards = shards_of(redis)
    queue = queues_of(shards)[0 if letter.user_id is None else shards.of(letter.user_id)]
    async with redis.pipeline(transaction=True) as pipeline:
        match letter.kind:
            case "event":
                enqueue_batch(pipeline, queue, job_id, batch_of(letter.raw))
            case "batch":
                enqueue_batch(pipeline, queue, job_id, letter.raw)
            case "correction":
                enqueue_payload(pipeline, queue, CORRECT_JOB, job_id, letter.raw)
            case "reprice":
                enqueue_payload(pipeline, queue, REPRICE_JOB, job_id, letter.raw)
            case "job":
                enqueue_job(pipeline, queue, job_id, letter.raw)
        await pipeline.execute()
