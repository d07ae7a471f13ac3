"""Puts dead letters back on the queue, for when what buried them has been mended."""

from libs.common.storage.dead_letters import DeadLetter, DeadLetterStore
from libs.common.storage.event_queue import batch_of, enqueue_batch, enqueue_job
from libs.common.storage.redis import Redis

_PAGE = 100


async def replay_all(letters: DeadLetterStore, redis: Redis) -> int:
    """How many were put back. A letter that is still undeliverable is buried anew.

    It leaves the collection after it is on the queue: a crash in between delivers it twice, which
    posting tolerates.
    """
    replayed, after = 0, None
    while page := await letters.list(after=after, limit=_PAGE):
        after = page[-1].letter_id
        for letter in page:
            if letter.size == len(letter.raw):
                await _enqueue(letter, redis)
                await letters.remove(letter)
                replayed += 1
    return replayed


async def _enqueue(letter: DeadLetter, redis: Redis) -> None:
    # An earlier replay of the letter may still be under way, so each has a name of its own.
    job_id = f"replay-{letter.letter_id}-{letter.times}"
    async with redis.pipeline(transaction=True) as pipeline:
        match letter.kind:
            case "event":
                enqueue_batch(pipeline, job_id, batch_of(letter.raw))
            case "batch":
                enqueue_batch(pipeline, job_id, letter.raw)
            case "job":
                enqueue_job(pipeline, job_id, letter.raw)
        await pipeline.execute()
