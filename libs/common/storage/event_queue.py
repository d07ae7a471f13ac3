"""The queue between gateway and ledger worker: one arq job carries a batch of usage events.

arq's own `enqueue_job` needs three round trips and expires jobs after a day. A job is written
here in arq's own format in one transaction, together with what else must be durable with it, and
without an expiry: an unposted event is never dropped.
"""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from arq.constants import default_queue_name, job_key_prefix
from arq.jobs import serialize_job
from redis.asyncio.client import Pipeline

from libs.common.schemas.usage import UsageEvent

QUEUE = default_queue_name
POST_JOB = "events.post"
BURY_JOB = "events.bury"

_msgpack = msgspec.msgpack.Encoder()
_encode_events = msgspec.msgpack.Encoder().encode
_decode_raws = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
decode_event = msgspec.msgpack.Decoder(UsageEvent).decode
encode_event = _msgpack.encode


class Payload(bytes):
    """A batch as bytes, which does not print itself into arq's log."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


def encode_batch(events: Sequence[UsageEvent]) -> bytes:
    """The batch that `split_batch` takes apart."""
    return _encode_events(events)


def split_batch(payload: bytes) -> list[bytes]:
    """The events still encoded, so that one which cannot be decoded does not spoil the rest.

    Raises msgspec.DecodeError where the batch itself is damaged.
    """
    return [bytes(raw) for raw in _decode_raws(payload)]


def enqueue_batch(pipeline: Pipeline, batch_id: str, payload: bytes) -> None:
    """Adds the job to the pipeline; the same id again before it is done changes nothing."""
    now_ms = int(time.time() * 1000)
    job = serialize_job(POST_JOB, (payload,), {}, None, now_ms, serializer=encode_job)
    pipeline.set(job_key_prefix + batch_id, job)
    pipeline.zadd(QUEUE, {batch_id: now_ms}, nx=True)


def encode_job(job: dict[str, Any]) -> bytes:
    """arq's job serializer."""
    return _msgpack.encode(job)


def decode_job(data: bytes) -> dict[str, Any]:
    """arq's job deserializer.

    arq drops a job that it cannot read; such a job is handed to `events.bury` instead.
    """
    try:
        job: dict[str, Any] = msgspec.msgpack.decode(data, type=dict[str, Any])
        job["a"] = [Payload(arg) if isinstance(arg, bytes) else arg for arg in job["a"]]
    except (msgspec.MsgspecError, KeyError, TypeError):
        return {"t": None, "f": BURY_JOB, "a": [Payload(data)], "k": {}, "et": 0}
    return job
