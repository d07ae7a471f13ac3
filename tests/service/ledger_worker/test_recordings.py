"""`recordings.store`: what gateways recorded ends up in MongoDB, once, and for its time."""

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from libs.common.schemas.recording import Recording, Transcript
from libs.common.storage.mongo.driver import OperationFailure, PyMongoError
from libs.common.storage.mongo.slices import RowPlace, Slice
from libs.common.storage.queue.event_queue import QUEUE
from libs.common.storage.queue.recordings import (
    DamagedRecordings,
    RecordingFilter,
    RecordingQueue,
    RecordingStore,
    pack,
    unpack,
)
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.recordings import NotStored, RecordingKeeper
from services.ledger_worker.settings import Settings
from tests.service.ledger_worker.worker_stage import (
    Stage,
    make_event,
    new_call_id,
    working,
)

NOW = datetime.now(UTC).replace(microsecond=0)


def make_recording(user_id: str = "alice", **changes: Any) -> Recording:
    fields: dict[str, Any] = {
        "call_id": new_call_id(changes.get("started_at", NOW)),
        "user_id": user_id,
        "key_id": "key-1",
        "format": "chat",
        "model": "gpt-4o",
        "started_at": NOW,
        "stream": False,
        "http_status": 200,
        "request": Transcript(text='{"messages": []}', size=16),
        "answer": Transcript(text='{"choices": "é\x00"}', size=18, truncated=True),
        "expires_at": NOW + timedelta(days=30),
    }
    return Recording(**(fields | changes))


async def put(stage: Stage, *recordings: Recording) -> None:
    for payload, _ in pack(recordings):
        assert await RecordingQueue(stage.redis).put(new_call_id(), payload)


def count_of_end(metrics: Metrics, end: str) -> float:
    return metrics.registry.get_sample_value("ledger_recordings_total", {"end": end}) or 0.0


async def test_recordings_are_stored_once(stage: Stage, settings: Settings) -> None:
    store = RecordingStore(stage.database)
    recordings = [make_recording(), make_recording()]
    async with working(stage, settings):
        await put(stage, *recordings)
        await stage.drained()
        # Delivered again, and then with other words under a known id, which do not count.
        await put(stage, recordings[0])
        await put(
            stage, msgspec.structs.replace(recordings[1], request=Transcript(text="x", size=1))
        )
        await stage.drained()
    assert [await store.get(recording.call_id) for recording in recordings] == recordings
    assert await stage.database["recordings"].count_documents({}) == 2
    assert await stage.dead_letters.count() == 0
    assert count_of_end(stage.metrics, "stored") == 4


async def test_recordings_expire(stage: Stage, settings: Settings) -> None:
    indexes = await stage.database["recordings"].index_information()
    ttl = [index for index in indexes.values() if "expireAfterSeconds" in index]
    assert [(index["key"], index["expireAfterSeconds"]) for index in ttl] == [
        ([("expires_at", 1)], 0)
    ]
    recording = make_recording()
    async with working(stage, settings):
        await put(stage, recording, make_recording(expires_at=NOW - timedelta(seconds=1)))
        await stage.drained()
    (document,) = await stage.database["recordings"].find({}).to_list(None)
    # A date, or MongoDB would never look at it.
    assert document["expires_at"] == recording.expires_at
    assert count_of_end(stage.metrics, "expired") == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not compressed",
        zlib.compress(b"not msgpack"),
        zlib.compress(msgspec.msgpack.encode([{"call_id": "x"}])),
        pack([make_recording(v=2)])[0][0],
        pack([make_recording()])[0][0][:-20],
    ],
)
async def test_a_corrupt_payload_is_dropped_alone(
    stage: Stage, settings: Settings, payload: bytes
) -> None:
    with pytest.raises(DamagedRecordings):
        unpack(payload)
    event, sound = make_event(), make_recording()
    async with working(stage, settings):
        assert await RecordingQueue(stage.redis).put(new_call_id(), payload)
        await put(stage, sound)
        await stage.enqueue([event])
        await stage.drained()
    assert count_of_end(stage.metrics, "damaged") == 1
    assert await stage.entry_ids() == [event.call_id]
    assert await RecordingStore(stage.database).exists(sound.call_id)
    assert await stage.dead_letters.count() == 0


def test_an_endless_payload_is_corrupt() -> None:
    bomb = zlib.compress(bytes(200 * 1024 * 1024), 9)
    with pytest.raises(DamagedRecordings):
        unpack(bomb)


def test_jobs_are_packed_up_to_a_bound() -> None:
    text = "word " * 60_000
    recordings = [make_recording(request=Transcript(text=text, size=len(text))) for _ in range(7)]
    packed = pack(recordings)
    assert [count for _, count in packed] == [3, 3, 1]
    assert [row for payload, _ in packed for row in unpack(payload)] == recordings
    assert pack([]) == []


async def test_a_long_queue_takes_no_recordings(stage: Stage) -> None:
    payload = pack([make_recording()])[0][0]
    queue = RecordingQueue(stage.redis, max_jobs=2)
    await stage.enqueue([make_event()])
    assert [await queue.put(new_call_id(), payload) for _ in range(2)] == [True, False]
    assert await stage.redis.zcard(QUEUE) == 2


class RefusingStore(RecordingStore):
    """As MongoDB would be with a disk that is full."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def add(self, recordings: Sequence[Recording]) -> None:
        raise self._error


def refusing(stage: Stage, error: Exception) -> RecordingKeeper:
    return RecordingKeeper(RefusingStore(error), stage.metrics, lambda: NOW)


async def test_a_mongodb_outage_is_awaited_silently(stage: Stage) -> None:
    payload = pack([make_recording()])[0][0]
    keeper = refusing(stage, PyMongoError("{'op': 'what was said'}"))
    for tries in (1, 10_000):
        with pytest.raises(NotStored) as raised:
            await keeper.keep(payload, "job", tries)
        assert "what was said" not in f"{raised.value!r}{raised.value.__cause__!r}"


async def test_a_recording_mongodb_refuses_is_eventually_dropped(stage: Stage) -> None:
    payload = pack([make_recording(), make_recording()])[0][0]
    keeper = refusing(stage, OperationFailure("what was said", code=8000))
    with pytest.raises(NotStored):
        await keeper.keep(payload, "job", 24)
    with capture_logs() as logs:
        await keeper.keep(payload, "job", 25)
    assert "what was said" not in str(logs)
    assert count_of_end(stage.metrics, "refused") == 2


def _newest(limit: int, start: RowPlace | None = None) -> Slice:
    return Slice(limit=limit, descending=True, start=start)


async def test_lists_pages_and_removal(stage: Stage) -> None:
    store = RecordingStore(stage.database)
    recordings = [make_recording(key_id=f"key-{number % 2}") for number in range(5)]
    newest = sorted((row.call_id for row in recordings), reverse=True)
    await store.add([*recordings, make_recording("bob")])
    await store.add([])
    first = await store.slice(RecordingFilter(user_id="alice"), _newest(3))
    rows = first.rows
    assert [row.call_id for row in rows] == newest[:3]
    assert {row.request.text for row in rows} == {""}
    assert {row.request.size for row in rows} == {16}
    rest = await store.slice(RecordingFilter(user_id="alice"), _newest(3, first.rest))
    assert [row.call_id for row in rest.rows] == newest[3:]
    assert len((await store.slice(RecordingFilter(key_id="key-0"), _newest(9))).rows) == 3
    both = RecordingFilter(user_id="alice", key_id="key-1")
    assert len((await store.slice(both, _newest(9))).rows) == 2
    assert [await store.delete_of_account("alice", limit=3) for _ in range(3)] == [3, 2, 0]
    assert len((await store.slice(RecordingFilter(), _newest(9))).rows) == 1
