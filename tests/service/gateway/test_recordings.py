"""What keys that record leave behind, and that no call depends on it."""

import asyncio
import gzip
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from arq.constants import job_key_prefix
from prometheus_client import REGISTRY

from libs.common.schemas.recording import Recording, RecordingTerms
from libs.common.settings import Secret
from libs.common.storage.queue.event_queue import (
    POST_JOB,
    QUEUE,
    RECORD_JOB,
    decode_job,
    split_batch,
)
from libs.common.storage.queue.recordings import unpack
from tests.servers import redis_server, running
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, MESSAGES, TEXT, Dialect, chunk, named
from tests.service.gateway.stage import Client, open_gateway
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books, open_books
from tests.support.polling import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

TERMS = RecordingTerms(retention_days=7)
SECRET = "sk-proj-Ab12_Cd34-Ef56Gh78Ij90"
PROMPT = f"My key is {SECRET}. Is that wise?"


async def jobs(books: Books, function: str) -> list[bytes]:
    """Payloads that wait in the queue."""
    payloads = []
    for job_id in await books.redis.zrange(QUEUE, 0, -1):
        job = decode_job(await books.redis.get(job_key_prefix.encode() + job_id))
        if job["f"] == function:
            payloads.append(job["a"][0])
    return payloads


async def recordings(books: Books, secret: str) -> list[Recording]:
    user_id = await books.user_of(secret)
    rows = [row for payload in await jobs(books, RECORD_JOB) for row in unpack(payload)]
    return [row for row in rows if row.user_id == user_id]


async def the_recording(books: Books, secret: str) -> Recording:
    """The one and only of the key's account."""

    async def came() -> bool:
        return bool(await recordings(books, secret))

    await eventually(came)
    (recording,) = await recordings(books, secret)
    return recording


async def call_ids(books: Books) -> set[str]:
    payloads = await jobs(books, POST_JOB)
    return {
        msgspec.msgpack.decode(raw)["call_id"] for each in payloads for raw in split_batch(each)
    }


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_call_is_recorded(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, stream: bool
) -> None:
    secret = await books.add_key(recording=TERMS)
    dialect.served_by(upstream, stream=stream)
    sent = dialect.body(PROMPT, stream=stream, user=secret)
    if dialect is MESSAGES:
        del sent["user"]

    response = await gateway.post(dialect.path, secret, sent)

    assert response.content == (dialect.stream if stream else dialect.answer)
    recording = await the_recording(books, secret)
    assert recording.call_id == response.headers["x-request-id"]
    assert recording.call_id in await call_ids(books)
    assert (recording.format, recording.model) == (dialect.name, dialect.model)
    assert (recording.stream, recording.http_status) == (stream, 200)
    redacted = json.dumps(sent).replace(SECRET, "[redacted]").replace(secret, "[redacted]")
    assert recording.request.text == redacted
    assert recording.request.size == len(json.dumps(sent))
    assert recording.answer.text.encode() == response.content
    assert TEXT in recording.answer.text
    assert not recording.request.truncated
    assert not recording.answer.truncated
    assert recording.expires_at - recording.started_at == timedelta(days=7)
    (request,) = upstream.requests
    # The provider got it all.
    assert SECRET in request.body.decode()


@pytest.mark.parametrize("frame", [CHAT, MESSAGES], ids=lambda dialect: dialect.name)
async def test_a_secret_in_pieces_of_an_answer_is_not_recorded(
    gateway: Client, upstream: Upstream, books: Books, frame: Dialect
) -> None:
    secret = await books.add_key(recording=TERMS)
    pieces = [SECRET[:9], SECRET[9:18], SECRET[18:]]
    if frame is CHAT:
        text_frames = [chunk({"content": piece}) for piece in pieces]
        frames = [*text_frames, *CHAT.frames[2:]]
    else:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
        text_frames = [named("content_block_delta", index=0, delta=delta) for delta in deltas]
        frames = [MESSAGES.frames[0], *text_frames, *MESSAGES.frames[-2:]]
    upstream.streams(frames)

    response = await gateway.post(frame.path, secret, frame.body(stream=True))

    assert b"".join(text_frames) in response.content
    recording = await the_recording(books, secret)
    assert "[redacted]" in recording.answer.text
    for piece in pieces:
        assert piece not in recording.answer.text


async def test_refusals_are_recorded(gateway: Client, upstream: Upstream, books: Books) -> None:
    cases: list[tuple[dict[str, Any], Any, str]] = [
        ({"allowed_models": ("other",)}, CHAT.body(PROMPT), "other"),
        ({}, b'{"model": ', "other"),
        ({}, CHAT.body(PROMPT, model="openai/nobody-priced-it"), "other"),
        ({"status": "revoked"}, CHAT.body(PROMPT), "unread"),
    ]
    for fields, sent, read in cases:
        secret = await books.add_key(recording=TERMS, **fields)
        response = await gateway.post(CHAT.path, secret, sent)
        assert response.status_code >= 400
        recording = await the_recording(books, secret)
        assert recording.http_status == response.status_code
        assert recording.answer.text.encode() == response.content
        body = sent.decode() if isinstance(sent, bytes) else json.dumps(sent)
        # A key that may not call is not read any further.
        expected = "" if read == "unread" else body.replace(SECRET, "[redacted]")
        assert recording.request.text == expected


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_provider_errors_are_recorded(
    gateway: Client, upstream: Upstream, books: Books, stream: bool
) -> None:
    secret = await books.add_key(recording=TERMS)
    upstream.answers(b'{"error": {"message": "No such thing."}}', status=404)
    response = await gateway.post(CHAT.path, secret, CHAT.body(PROMPT, stream=stream))
    recording = await the_recording(books, secret)
    assert (response.status_code, recording.http_status) == (404, 404)
    assert recording.answer.text == response.text
    assert "No such thing." in recording.answer.text


async def test_a_broken_stream_is_recorded_as_far_as_it_came(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    secret = await books.add_key(recording=TERMS)
    upstream.streams(CHAT.frames[:2])
    response = await gateway.post(CHAT.path, secret, CHAT.body(stream=True))
    recording = await the_recording(books, secret)
    assert recording.http_status == 200
    assert recording.answer.text == response.text
    assert TEXT in recording.answer.text
    assert "upstream_unavailable" in recording.answer.text


async def test_a_disconnected_clients_call_is_recorded_as_far_as_sent(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    secret = await books.add_key(recording=TERMS)
    gone = asyncio.Event()

    async def hold_back(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.begin_stream()
        for frame in CHAT.frames[:2]:
            await connection.chunk(frame)
        await gone.wait()

    upstream.does(hold_back)
    headers = {"authorization": f"Bearer {secret}"}
    body = CHAT.body(stream=True)
    async with gateway.http.stream("POST", CHAT.path, json=body, headers=headers) as response:
        async for part in response.aiter_bytes():
            if TEXT.encode() in part:
                break
    gone.set()
    recording = await the_recording(books, secret)
    assert TEXT in recording.answer.text


async def test_a_large_body_is_recorded_up_to_the_bound(
    settings_with: SettingsWith, upstream: Upstream, books: Books
) -> None:
    secret = await books.add_key(recording=TERMS)
    upstream.answers(CHAT.answer)
    async with open_gateway(settings_with(recording_max_bytes=2048)) as gateway:
        sent = json.dumps(CHAT.body("word " * 300_000)).encode()
        response = await gateway.post(CHAT.path, secret, sent)
        assert response.status_code == 200
        recording = await the_recording(books, secret)
    assert recording.request.truncated
    assert recording.request.size == len(sent)
    assert 2000 < len(recording.request.text) <= 2048
    assert sent.decode().startswith(recording.request.text)
    assert upstream.requests[-1].fields["messages"][0]["content"] == "word " * 300_000


async def test_a_key_that_does_not_record_leaves_nothing(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    silent, other = await books.add_key(), await books.add_key(recording=TERMS)
    upstream.answers(CHAT.answer)
    counter = "gateway_recordings_total", {"end": "failed"}
    before = REGISTRY.get_sample_value(*counter)
    await gateway.post(CHAT.path, silent, CHAT.body(PROMPT))
    # Recordings are queued in the order of their calls.
    await gateway.post(CHAT.path, other, CHAT.body(PROMPT))
    await the_recording(books, other)
    assert await recordings(books, silent) == []
    # Nor was one begun.
    assert REGISTRY.get_sample_value(*counter) == before


async def test_non_generating_calls_are_not_recorded(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    secret = await books.add_key(recording=TERMS)
    upstream.answers(b'{"input_tokens": 5}')
    counted = await gateway.post(f"{MESSAGES.path}/count_tokens", secret, MESSAGES.body(PROMPT))
    assert counted.status_code == 200
    upstream.answers(MESSAGES.answer)
    response = await gateway.post(MESSAGES.path, secret, MESSAGES.body(PROMPT))
    recording = await the_recording(books, secret)
    assert recording.call_id == response.headers["x-request-id"]


async def test_recordings_are_queued_before_the_process_ends(
    settings_with: SettingsWith, upstream: Upstream, books: Books
) -> None:
    secret = await books.add_key(recording=TERMS)
    upstream.answers(CHAT.answer)
    async with open_gateway(settings_with()) as gateway:
        await gateway.post(CHAT.path, secret, CHAT.body())
    (recording,) = await recordings(books, secret)
    assert recording.http_status == 200


async def test_without_redis_calls_continue_and_recordings_are_dropped(
    settings_with: SettingsWith, upstream: Upstream, module_mongo_uri: str, tmp_path: Path
) -> None:
    (tmp_path / "redis").mkdir()
    with running(redis_server(tmp_path / "redis")) as redis:
        settings = settings_with(redis_url=Secret(redis.url), spool_dir=str(tmp_path / "spool"))
        async with (
            open_books(module_mongo_uri, redis.url) as own_books,
            open_gateway(settings) as gateway,
        ):
            secret = await own_books.add_key(recording=TERMS)
            upstream.answers(CHAT.answer)
            assert (await gateway.post(CHAT.path, secret, CHAT.body())).status_code == 200
            first = await the_recording(own_books, secret)
            counter = "gateway_recordings_total", {"end": "redis_away"}
            before = REGISTRY.get_sample_value(*counter) or 0.0
            redis.kill()
            for _ in range(3):
                assert (await gateway.post(CHAT.path, secret, CHAT.body())).status_code == 200
            redis.start()

            async def all_events_came() -> bool:
                return len(await call_ids(own_books)) == 4

            # Every event, and no recording but the one before the outage and those after it.
            await eventually(all_events_came)
            assert [row.call_id for row in await recordings(own_books, secret)] == [first.call_id]
            assert REGISTRY.get_sample_value(*counter) == before + 3


async def test_a_compressed_request_is_recorded_decompressed(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    CHAT.served_by(upstream, stream=False)
    secret = await books.add_key(recording=TERMS)
    sent = json.dumps(CHAT.body("Good morning")).encode()
    headers = {"content-encoding": "gzip"}
    await gateway.post(CHAT.path, secret, gzip.compress(sent), headers)
    recording = await the_recording(books, secret)
    assert json.loads(recording.request.text) == json.loads(sent)
    assert recording.request.size == len(sent)
