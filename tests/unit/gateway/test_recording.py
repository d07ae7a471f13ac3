"""Captures run along with calls; what cannot become a recording is dropped, and counted."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.types import Message
from structlog.testing import capture_logs

from libs.common.breaker import Breaker
from libs.common.schemas.recording import Recording, RecordingTerms
from libs.common.schemas.usage import Operation
from libs.common.storage.queue.recordings import RecordingQueue, unpack
from libs.common.storage.redis.client import RedisError
from services.gateway.calls.call import Call
from services.gateway.calls.principal import Principal
from services.gateway.formats import FORMATS
from services.gateway.recordings.capture import CallCapture, Recordings
from tests.unit.builders import account, api_key
from tests.unit.gateway.new_calls import new_call

NOW_MS = 1_790_000_000_000
PRINCIPAL = Principal(api_key(recording=RecordingTerms(retention_days=7)), account())
LIMIT = 1024


class ScriptedQueue(RecordingQueue):
    """Takes what it is given, unless it is told otherwise."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.fault: Exception | None = None
        self.room = True
        self.open = asyncio.Event()
        self.open.set()

    async def put(self, job_id: str, payload: bytes) -> bool:
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        if self.room:
            self.payloads.append(payload)
        return self.room

    @property
    def recordings(self) -> list[Recording]:
        return [recording for payload in self.payloads for recording in unpack(payload)]


@pytest.fixture
def queue() -> ScriptedQueue:
    return ScriptedQueue()


@pytest.fixture
def breaker() -> Breaker:
    return Breaker(1.0)


@pytest.fixture
def recordings(queue: ScriptedQueue, breaker: Breaker) -> Recordings:
    return Recordings(queue, breaker, max_bytes=LIMIT, pause_s=0.0, clock=lambda: 0.0)


def call_of(principal: Principal = PRINCIPAL, operation: Operation = "create") -> Call:
    return new_call(FORMATS["chat"], now_ms=NOW_MS, operation=operation, principal=principal)


async def play_call(
    recordings: Recordings, sent: Sequence[bytes] = (b"{}",), reply: Sequence[bytes] = (b"{}",)
) -> CallCapture:
    """A capture that a call has passed through."""
    capture = recordings.start(call_of())
    assert capture is not None
    incoming: list[Message] = [{"type": "http.request", "body": part} for part in sent]
    outgoing: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        outgoing.append(message)

    recorded_receive, recorded_send = capture.wrap_receive(receive), capture.wrap_send(send)
    received = [await recorded_receive() for _ in range(len(sent) + 1)]
    assert [message.get("body") for message in received] == [*sent, None]
    answer: list[Message] = [{"type": "http.response.start", "status": 200, "headers": []}]
    answer += [{"type": "http.response.body", "body": part} for part in reply]
    for message in answer:
        await recorded_send(message)
    assert outgoing == answer
    return capture


def end_count(end: str) -> float:
    return REGISTRY.get_sample_value("gateway_recordings_total", {"end": end}) or 0.0


async def test_request_and_answer_are_recorded(
    recordings: Recordings, queue: ScriptedQueue
) -> None:
    capture = await play_call(recordings, [b'{"a": ', b'"b"}'], [b'{"password": ', b'"x"}'])
    recordings.offer(capture)
    await recordings.close()
    (recording,) = queue.recordings
    assert recording.call_id == capture.call.call_id
    assert (recording.user_id, recording.key_id) == ("acme", "key-1")
    assert (recording.format, recording.http_status) == ("chat", 200)
    assert (recording.request.text, recording.request.size) == ('{"a": "b"}', 10)
    assert (recording.answer.text, recording.answer.size) == ('{"password": "[redacted]"}', 17)
    assert recording.expires_at == capture.call.started_at + timedelta(days=7)


@pytest.mark.parametrize("operation", ["count", "retrieve", "delete", "cancel", "list_items"])
def test_only_generating_calls_are_recorded(recordings: Recordings, operation: Operation) -> None:
    assert recordings.start(call_of(operation=operation)) is None


async def test_no_more_is_kept_in_memory_than_is_recorded(recordings: Recordings) -> None:
    part = b"word " * 1_000
    capture = await play_call(recordings, [part] * 5, [part] * 5)
    assert capture.kept == 2 * 8 * LIMIT
    assert capture.request.size == capture.answer.size == 25_000
    assert capture.request.raw() == (part * 5)[: 8 * LIMIT]


async def test_kept_parts_are_not_copied(recordings: Recordings) -> None:
    part = bytes(1_000)
    capture = await play_call(recordings, [part])
    assert capture.request.raw() is part


async def test_recordings_over_the_bound_are_dropped(
    recordings: Recordings, queue: ScriptedQueue
) -> None:
    queue.open.clear()
    before = end_count("full")
    with capture_logs() as logs:
        for _ in range(1_044):
            recordings.offer(await play_call(recordings))
    assert end_count("full") - before == 44
    assert [line["event"] for line in logs] == ["recordings.dropped"]
    queue.open.set()
    await recordings.close()
    assert len(queue.recordings) == 1_000


async def test_waiting_bytes_are_bounded(queue: ScriptedQueue, breaker: Breaker) -> None:
    recordings = Recordings(queue, breaker, max_bytes=1024 * 1024)
    queue.open.clear()
    before = end_count("full")
    part = bytes(7 * 1024 * 1024)
    for _ in range(6):
        recordings.offer(await play_call(recordings, [part]))
    assert end_count("full") - before == 2
    queue.open.set()
    await recordings.close()
    recordings.offer(await play_call(recordings, [part]))
    assert end_count("full") - before == 2
    await recordings.close()


@pytest.mark.parametrize("fault", [RedisError("away"), OSError("away")])
async def test_without_redis_a_recording_is_dropped(
    recordings: Recordings, queue: ScriptedQueue, breaker: Breaker, fault: Exception
) -> None:
    queue.fault = fault
    before = end_count("redis_away")
    recordings.offer(await play_call(recordings))
    await recordings.close()
    assert end_count("redis_away") - before == 1
    assert not breaker.is_open


async def test_recordings_that_gather_share_a_job(queue: ScriptedQueue, breaker: Breaker) -> None:
    # A pause that only the end of the process ends.
    recordings = Recordings(queue, breaker, max_bytes=LIMIT, pause_s=3600.0)
    recordings.offer(await play_call(recordings))
    async with asyncio.timeout(30):
        while not queue.payloads:
            await asyncio.sleep(0.01)
        for _ in range(30):
            recordings.offer(await play_call(recordings))
        await recordings.close()
    assert [len(unpack(payload)) for payload in queue.payloads] == [1, 30]


async def test_an_open_breaker_keeps_calls_off_redis(
    recordings: Recordings, queue: ScriptedQueue, breaker: Breaker
) -> None:
    breaker.failed()
    recordings.offer(await play_call(recordings))
    await recordings.close()
    assert queue.payloads == []
    breaker.succeeded()
    recordings.offer(await play_call(recordings))
    await recordings.close()
    assert len(queue.recordings) == 1


async def test_a_long_queue_takes_no_recordings(
    recordings: Recordings, queue: ScriptedQueue
) -> None:
    queue.room = False
    before = end_count("queue_full")
    recordings.offer(await play_call(recordings))
    await recordings.close()
    assert end_count("queue_full") - before == 1


async def test_closing_does_not_wait_long(queue: ScriptedQueue, breaker: Breaker) -> None:
    now = 0.0
    recordings = Recordings(queue, breaker, max_bytes=LIMIT, clock=lambda: now)
    queue.open.clear()
    for _ in range(200):
        recordings.offer(await play_call(recordings))
    closing = asyncio.create_task(recordings.close())
    # The writer is in its first batch, or will find that the time is over before it.
    await asyncio.sleep(0)
    now = 6.0
    queue.open.set()
    await closing
    assert len(queue.recordings) <= 64


async def test_a_recording_that_fails_leaves_the_others(
    recordings: Recordings, queue: ScriptedQueue
) -> None:
    before = end_count("failed")
    broken, sound = await play_call(recordings), await play_call(recordings)
    broken.call = call_of(Principal(api_key(), account()))
    with capture_logs() as logs:
        recordings.offer(broken)
        recordings.offer(sound)
        await recordings.close()
    assert [recording.call_id for recording in queue.recordings] == [sound.call.call_id]
    assert end_count("failed") - before == 1
    assert [line["event"] for line in logs] == ["recording.failed"]


async def test_drops_are_logged_at_intervals(queue: ScriptedQueue, breaker: Breaker) -> None:
    now = 100.0
    recordings = Recordings(queue, breaker, max_bytes=LIMIT, pause_s=0.0, clock=lambda: now)
    queue.room = False
    counts: list[Any] = []
    for at in (100.0, 101.0, 102.0, 111.0):
        now = at
        recordings.offer(await play_call(recordings))
        with capture_logs() as logs:
            await recordings.close()
        counts += [line["recordings"] for line in logs]
    assert counts == [1, 3]
