from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from arq.constants import job_key_prefix
from arq.jobs import deserialize_job_raw, serialize_job, serialize_result
from fakeredis import FakeAsyncRedis
from hypothesis import example, given
from hypothesis import strategies as st

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.entries import EVENT_VERSION, accept
from libs.common.schemas.usage import ModelRun, TokenUsage, UsageEvent
from libs.common.storage.queue.event_queue import (
    CORRECT_JOB,
    DEAD_LETTER_JOB,
    POST_JOB,
    QUEUE,
    REPRICE_JOB,
    JobPayload,
    batch_of,
    decode_event,
    decode_job,
    encode_batch,
    encode_event,
    encode_job,
    enqueue_batch,
    queues_of,
    split_batch,
)
from libs.common.storage.redis.shards import ONE
from tests.unit.builders import event

_counts = st.none() | st.integers(0, 2**40)
_events = st.builds(
    UsageEvent,
    call_id=st.uuids().map(str),
    user_id=st.text(),
    key_id=st.text(),
    started_at=st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    format=st.sampled_from(["chat", "messages", "responses"]),
    status=st.sampled_from(["ok", "client_closed", "refused"]),
    http_status=st.integers(100, 599),
    usage=st.none() | st.builds(TokenUsage, input_text=_counts, reasoning=_counts),
    held_nusd=st.integers(0, 2**53),
    client_user=st.none() | st.text(),
)
_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    # The surrogates of a damaged text and the extension types of msgpack included.
    | st.binary()
    | st.builds(msgspec.msgpack.Ext, st.integers(-128, 127), st.binary()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=10,
)


def job(payload: bytes, **fields: Any) -> bytes:
    encoded = serialize_job(POST_JOB, (payload,), {}, None, 1_000, serializer=encode_job)
    return msgspec.msgpack.encode(msgspec.msgpack.decode(encoded) | fields)


def as_arq_sees(data: bytes) -> tuple[str, list[Any], dict[str, Any], int | None, int]:
    function, args, kwargs, job_try, enqueued_ms = deserialize_job_raw(
        data, deserializer=decode_job
    )
    return function, list(args), kwargs, job_try, enqueued_ms


@given(_events)
def test_an_event_survives_the_round_trip(usage_event: UsageEvent) -> None:
    assert decode_event(encode_event(usage_event)) == usage_event


@given(st.lists(_events, max_size=5))
def test_a_batch_is_split_into_its_events(events: list[UsageEvent]) -> None:
    raws = split_batch(encode_batch(events))
    assert [decode_event(raw) for raw in raws] == events
    for raw in raws:
        assert split_batch(batch_of(raw)) == [raw]


def test_an_event_that_cannot_be_read_leaves_the_others_readable() -> None:
    good = event()
    batch = msgspec.msgpack.encode([good, {"v": 1}, "\N{SNOWMAN}", good])
    first, *odd, last = split_batch(batch)
    assert decode_event(first) == decode_event(last) == good
    for raw in odd:
        with pytest.raises(UNREADABLE):
            decode_event(raw)


def test_fields_of_a_later_version_are_ignored() -> None:
    later = msgspec.to_builtins(event(), builtin_types=(datetime,)) | {"v": 2, "mood": "good"}
    assert decode_event(msgspec.msgpack.encode(later)).call_id == "call-1"


def test_an_event_omits_unknown_fields() -> None:
    encoded: dict[str, Any] = msgspec.msgpack.decode(
        encode_event(event(usage=TokenUsage(input_text=0)))
    )
    assert encoded["usage"] == {"input_text": 0}
    assert "latency_ms" not in encoded


@given(st.binary())
@example(b"")
@example(b"\x91\xa1\xff")
@example(b"\x91" * 100_000)
@example(b"\xdd\xff\xff\xff\xff")
def test_a_corrupt_batch_is_unreadable(payload: bytes) -> None:
    try:
        for raw in split_batch(payload):
            decode_event(raw)
    except UNREADABLE:
        pass


def test_arq_sees_the_job_that_was_enqueued() -> None:
    payload = encode_batch([event()])
    assert as_arq_sees(job(payload)) == (POST_JOB, [payload], {}, None, 1_000)


@pytest.mark.parametrize("function", [POST_JOB, CORRECT_JOB, REPRICE_JOB])
def test_each_function_of_the_worker_gets_its_payload(function: str) -> None:
    assert as_arq_sees(job(b"payload", f=function)) == (function, [b"payload"], {}, None, 1_000)


def test_a_payloads_repr_hides_its_bytes() -> None:
    payload = decode_job(job(b"x" * 100))["a"][0]
    assert repr(payload) == "<100 bytes>"
    assert repr(as_arq_sees(b"junk")[1]) == "[<4 bytes>]"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x81\xa1\xff\x01",
        b"\x81\xa1a" + b"\x91" * 100_000,
        b"\x81\xa1a\xdd\xff\xff\xff\xff",
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode({}),
        msgspec.msgpack.encode({"a": []}),
        job(b"x", f="events.unknown"),
        job(b"x", f=DEAD_LETTER_JOB),
        job(b"x", a=[]),
        job(b"x", a=["text"]),
        job(b"x", a=[b"x", b"y"]),
        job(b"x", a="xy"),
        job(b"x", k={"more": 1}),
        job(b"x", et=-1),
        job(b"x", et=2**63),
        job(b"x", et=None),
        job(b"x", t="many"),
        job(b"x", more=1),
        job(b"x")[:-1],
    ],
)
def test_a_job_that_arq_would_drop_is_dead_lettered_whole(data: bytes) -> None:
    assert as_arq_sees(data) == (DEAD_LETTER_JOB, [data], {}, None, 0)


@given(st.binary() | _values.map(msgspec.msgpack.encode))
def test_arbitrary_bytes_never_make_arq_drop_a_job(data: bytes) -> None:
    assert as_arq_sees(data)[0] in (DEAD_LETTER_JOB, POST_JOB)


@given(st.dictionaries(st.sampled_from("tfake") | st.just("et"), _values), st.binary(max_size=8))
def test_a_job_is_posted_with_its_payload_or_dead_lettered_whole(
    fields: dict[str, Any], tail: bytes
) -> None:
    data = job(b"payload", **fields) + tail
    function, args, kwargs, job_try, enqueued_ms = as_arq_sees(data)
    assert (kwargs, job_try) == ({}, None)
    assert 0 <= enqueued_ms < 2**42
    assert isinstance(args[0], JobPayload)
    assert args == ([data] if function == DEAD_LETTER_JOB else fields.get("a", [b"payload"]))


def test_the_number_of_tries_is_never_taken_from_the_job() -> None:
    assert as_arq_sees(job(b"x", t=99))[3] is None


def test_a_failed_jobs_result_can_be_encoded() -> None:
    result = serialize_result(
        *(POST_JOB, (JobPayload(b"x"),), {}, 1, 0, False, ValueError("no"), 0, 0),
        *(POST_JOB, QUEUE, "job-1"),
        serializer=encode_job,
    )
    assert result is not None
    assert b"ValueError('no')" in result


async def test_a_batch_waits_in_arqs_queue_without_an_expiry() -> None:
    redis = FakeAsyncRedis()
    payload = encode_batch([event()])
    async with redis.pipeline(transaction=True) as pipeline:
        enqueue_batch(pipeline, queues_of(ONE)[0], "batch-1", payload)
        await pipeline.execute()
    raw_job = await redis.get(job_key_prefix + "batch-1")
    assert as_arq_sees(raw_job)[:2] == (POST_JOB, [payload])
    assert await redis.ttl(job_key_prefix + "batch-1") == -1
    assert await redis.zrange(QUEUE, 0, -1) == [b"batch-1"]
    await redis.aclose()


async def test_a_repeated_batch_neither_doubles_nor_delays_the_job() -> None:
    redis = FakeAsyncRedis()
    await redis.zadd(QUEUE, {"batch-1": 5})
    async with redis.pipeline(transaction=True) as pipeline:
        enqueue_batch(pipeline, queues_of(ONE)[0], "batch-1", encode_batch([event()]))
        await pipeline.execute()
    assert await redis.zrange(QUEUE, 0, -1, withscores=True) == [(b"batch-1", 5.0)]
    await redis.aclose()


def test_events_of_the_previous_release_are_still_read() -> None:
    """As version 1 wrote them: its default is left out, and it knows no runs and no tools."""
    usage = {"input_text": 7, "cache_write_5m": 2, "output_text": 3, "service_tier": "flex"}
    fields = {
        "call_id": "019b0000-0000-7000-8000-000000000001",
        "user_id": "alice",
        "key_id": "key-1",
        "started_at": datetime(2026, 11, 1, tzinfo=UTC),
        "format": "chat",
        "provider": "openai",
        "model": "stand-in-1",
        "status": "ok",
        "http_status": 200,
        "usage": usage,
        "usage_source": "provider",
    }
    decoded = decode_event(msgspec.msgpack.encode(fields))
    assert decoded.v == 1
    assert decoded.usage == TokenUsage(**usage)  # type: ignore[arg-type]
    assert accept(decoded, datetime(2026, 11, 2, tzinfo=UTC)) == decoded


def test_a_release_without_runs_puts_events_with_them_among_the_dead_letters() -> None:
    """It refuses the version, which therefore has to be written, default or not."""
    usage = TokenUsage(runs=(ModelRun(role="advisor", model="m", input_text=1),))
    sent = msgspec.structs.replace(event(usage=usage), v=EVENT_VERSION)
    raw = encode_event(sent)
    assert msgspec.msgpack.decode(raw)["v"] == 2
    assert decode_event(raw) == sent
