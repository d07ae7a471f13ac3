"""The ledger worker's queue: an arq job carries a batch of usage events or of recordings from a
gateway, or an order of the admin service.

arq's own `enqueue_job` needs three round trips and expires jobs after a day. Here a job is written
in arq's format, in one transaction with the other commands that must be durable with it, and
without an expiry: an unposted event is never dropped.
"""

import hashlib
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from arq.constants import job_key_prefix
from arq.jobs import serialize_job

from libs.common.decode_errors import UNREADABLE
from libs.common.schemas.usage import UsageEvent
from libs.common.storage.redis.answers import answers_of, first_answer
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.pipelining import CommandSink
from libs.common.storage.redis.scripts import ALLOW_OOM, run_once
from libs.common.storage.redis.shards import Shards, shards_of

# Another arq application on the same Redis would take jobs of arq's default queue, and delete them
# since it cannot read them. On a cluster each shard has a queue with this name and its tag.
QUEUE = "gateway:queue"
POST_JOB = "events.post"
DEAD_LETTER_JOB = "events.bury"
CORRECT_JOB = "corrections.post"
REPRICE_JOB = "corrections.reprice"
RECORD_JOB = "recordings.store"

# How many jobs at the head of the queue are read for their age.
_AGE_SAMPLE = 4
_ENQUEUE_SWEPT = (
    ALLOW_OOM
    + """
redis.call('SET', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], 'NX', ARGV[2], ARGV[3])
"""
)

_encode_job = msgspec.msgpack.Encoder(enc_hook=repr).encode
_encode_events = msgspec.msgpack.Encoder().encode
_decode_raws = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
decode_event = msgspec.msgpack.Decoder(UsageEvent).decode
encode_event = msgspec.msgpack.Encoder().encode


class Queue(msgspec.Struct, frozen=True):
    """The queue of a shard. The ids of its jobs begin with `prefix`, by which arq's keys for them
    lie beside it.
    """

    name: str
    prefix: str


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs wait or run, and the enqueue time (Unix ms) of the oldest in a sample.

    Covers all shards except `shards_away`, which did not answer.
    """

    jobs: int
    oldest_ms: int | None
    shards_away: int


def queues_of(shards: Shards) -> tuple[Queue, ...]:
    """By shard. Any worker can do any job; an account's events wait beside its holds."""
    return tuple(
        Queue(shards.name(QUEUE, shard), shards.job_id("", shard)) for shard in range(shards.count)
    )


class JobPayload(bytes):
    """The bytes of a batch. arq logs a job's arguments by `repr`, which must not print events."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job in arq's encoding, for a function of the worker."""

    f: Literal["events.post", "corrections.post", "corrections.reprice", "recordings.store"]
    a: tuple[bytes]
    # 2^42 ms is in the year 2109.
    et: Annotated[int, msgspec.Meta(ge=0, lt=2**42)]
    k: Annotated[dict[str, Any], msgspec.Meta(max_length=0)]
    t: int | None = None


_decode_job = msgspec.msgpack.Decoder(Job).decode


def encode_batch(events: Sequence[UsageEvent]) -> bytes:
    """The inverse of `split_batch`."""
    return _encode_events(events)


def split_batch(payload: bytes) -> list[bytes]:
    """The encoded events, so that one damaged event does not spoil the rest.

    Raises one of UNREADABLE if the batch itself is damaged.
    """
    return [bytes(raw) for raw in _decode_raws(payload)]


def encode_raw_batch(raw_events: Sequence[bytes]) -> bytes:
    """As `encode_batch`, for encoded events."""
    return _encode_events([msgspec.Raw(raw) for raw in raw_events])


def batch_of(raw_event: bytes) -> bytes:
    """A batch of one encoded event."""
    return encode_raw_batch([raw_event])


def enqueue_batch(commands: CommandSink, queue: Queue, batch_id: str, payload: bytes) -> None:
    """Adds the job to the commands. A repeated id, before the job ends, is ignored."""
    enqueue_payload(commands, queue, POST_JOB, batch_id, payload)


def enqueue_payload(
    commands: CommandSink, queue: Queue, function: str, job_id: str, payload: bytes
) -> None:
    """As `enqueue_batch`, for any function of the worker."""
    job = serialize_job(function, (payload,), {}, None, _now_ms(), serializer=encode_job)
    enqueue_job(commands, queue, job_id, job)


def enqueue_job(commands: CommandSink, queue: Queue, job_id: str, job: bytes) -> None:
    """As `enqueue_payload`, for an encoded job."""
    job_id = queue.prefix + job_id
    commands.execute_command("SET", job_key_prefix + job_id, job)
    commands.execute_command("ZADD", queue.name, "NX", _now_ms(), job_id)


async def enqueue_swept(redis: Redis, queue: Queue, raw_events: Sequence[bytes]) -> None:
    """Enqueues events that Redis holds already. A full Redis accepts this job too.

    Posting the events frees their memory. The same events are the same job until they are posted,
    which bounds the memory that jobs add.
    """
    payload = encode_raw_batch(sorted(raw_events))
    job_id = queue.prefix + hashlib.sha256(payload).hexdigest()[:32]
    job = serialize_job(POST_JOB, (payload,), {}, None, _now_ms(), serializer=encode_job)
    keys = (job_key_prefix + job_id, queue.name)
    await run_once(redis, _ENQUEUE_SWEPT, keys, job, _now_ms(), job_id)


def encode_job(job: dict[str, Any]) -> bytes:
    """arq's job serializer. arq also encodes results with it, which may hold an exception."""
    return _encode_job(job)


def decode_job(data: bytes) -> dict[str, Any]:
    """arq's job deserializer.

    arq drops a job with damage, an unknown function or wrong arguments, and its main loop ends at
    an invalid number of tries or enqueue time. Any job that is not exactly in this module's form is
    therefore passed unchanged to `events.bury`.
    """
    try:
        job = _decode_job(data)
    except UNREADABLE:
        return {"t": None, "f": DEAD_LETTER_JOB, "a": [JobPayload(data)], "k": {}, "et": 0}
    # The gateway never sets the number of tries, and arq would give up a job with a large one.
    return {"t": None, "f": job.f, "a": [JobPayload(job.a[0])], "k": {}, "et": job.et}


def payload_of_post(data: bytes) -> bytes | None:
    """The payload of a sound `events.post` job; None of any other job."""
    try:
        job = _decode_job(data)
    except UNREADABLE:
        return None
    return job.a[0] if job.f == POST_JOB else None


async def queue_is_empty(redis: Redis) -> bool:
    """Whether no job of any shard waits or runs."""
    async with redis.pipeline(transaction=False) as pipeline:
        for queue in queues_of(shards_of(redis)):
            pipeline.zcard(queue.name)
        return not any(await pipeline.execute())


async def queue_state(redis: Redis) -> QueueState:
    """Raises RedisError if no shard answers."""
    answers = await answers_of(
        _state_of(redis, queue.name) for queue in queues_of(shards_of(redis))
    )
    states = [answer for answer in answers if isinstance(answer, QueueState)]
    if not states:
        first_answer(answers)
    return QueueState(
        jobs=sum(state.jobs for state in states),
        oldest_ms=min((s.oldest_ms for s in states if s.oldest_ms is not None), default=None),
        shards_away=len(answers) - len(states),
    )


async def _state_of(redis: Redis, queue: str) -> QueueState:
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.zcard(queue)
        pipeline.zrange(queue, 0, _AGE_SAMPLE - 1)
        depth, ids = await pipeline.execute()
    jobs = await redis.mget([job_key_prefix.encode() + id_ for id_ in ids]) if ids else []
    enqueued = [decode_job(job)["et"] for job in jobs if job is not None]
    # A retried job moves back in the queue, so the head is not always the oldest.
    oldest_ms = min((at for at in enqueued if at > 0), default=None)
    return QueueState(jobs=depth, oldest_ms=oldest_ms, shards_away=0)


def _now_ms() -> int:
    return int(time.time() * 1000)
