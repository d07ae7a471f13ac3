"""The queue of recordings, and the collection `recordings`, whose documents expire."""

import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.ids import first_uuid7
from libs.common.schemas.recording import Recording
from libs.common.storage.mongo.driver import (
    ASCENDING,
    Database,
    UpdateOne,
    from_document,
    to_document,
)
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.slices import Rows, Slice, read_slice
from libs.common.storage.queue.event_queue import RECORD_JOB, enqueue_payload, queues_of
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.shards import shards_of

# Uncompressed text in one job, unless a single recording is larger.
_MAX_JOB_BYTES = 1024 * 1024
# Far more than the recordings of a job can have; only a damaged payload is larger.
_MAX_UNPACKED_BYTES = 64 * 1024 * 1024
# Recordings must leave Redis' memory to usage events: no recording is added to a queue this long.
MAX_QUEUE_JOBS = 500
# A list leaves out the text of each recording.
_HEAD = {"request.text": 0, "answer.text": 0}

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Recording]).decode

# MongoDB itself removes each recording at its own `expires_at`.
INDEXES = (
    index("recordings", "expires_at", expires=True),
    index("recordings", "user_id", "_id"),
    index("recordings", "key_id", "_id"),
)


class DamagedRecordings(Exception):
    """The payload is damaged, or of an unknown version."""


def pack(recordings: Sequence[Recording]) -> list[tuple[bytes, int]]:
    """Pairs of a job's payload and its number of recordings."""
    groups: list[list[Recording]] = []
    size = 0
    for recording in recordings:
        text = len(recording.request.text) + len(recording.answer.text)
        if not groups or size + text > _MAX_JOB_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(recording)
        size += text
    return [(zlib.compress(_encode(group)), len(group)) for group in groups]


def unpack(payload: bytes) -> list[Recording]:
    """Raises DamagedRecordings."""
    unpacker = zlib.decompressobj()
    try:
        recordings = _decode(unpacker.decompress(payload, _MAX_UNPACKED_BYTES))
    except (zlib.error, *UNREADABLE) as error:
        raise DamagedRecordings(f"{type(error).__name__}: {error}") from error
    if any(recording.v != 1 for recording in recordings):
        raise DamagedRecordings("the version is unknown")
    return recordings


class RecordingQueue:
    """Adds recordings to the worker's queue while the queue is short."""

    def __init__(self, redis: Redis, *, max_jobs: int = MAX_QUEUE_JOBS) -> None:
        self._redis = redis
        self._shards = shards_of(redis)
        self._queues = queues_of(self._shards)
        # The servers of a cluster share the bound.
        self._max_jobs = max(max_jobs // len(self._queues), 1)

    async def put(self, job_id: str, payload: bytes) -> bool:
        """Returns False, and adds nothing, if the queue is too long.

        A job's recordings are of many accounts, so any shard may have it.
        """
        queue = self._queues[self._shards.of(job_id)]
        if await self._redis.zcard(queue.name) >= self._max_jobs:
            return False
        async with self._redis.pipeline(transaction=True) as pipeline:
            enqueue_payload(pipeline, queue, RECORD_JOB, job_id, payload)
            await pipeline.execute()
        return True


class RecordingFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that started from `since` (inclusive) to `until` (exclusive)."""

    user_id: str | None = None
    key_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class RecordingStore:
    """Recordings by the ids of their calls."""

    def __init__(self, database: Database) -> None:
        self._recordings = database["recordings"]

    async def add(self, recordings: Sequence[Recording]) -> None:
        """Leaves existing recordings unchanged."""
        updates = [
            UpdateOne(
                {"_id": recording.call_id},
                {"$setOnInsert": _document(recording)},
                upsert=True,
            )
            for recording in recordings
        ]
        if updates:
            await self._recordings.bulk_write(updates, ordered=False)

    async def get(self, call_id: str) -> Recording | None:
        document = await self._recordings.find_one({"_id": call_id})
        return None if document is None else from_document(document, Recording)

    async def exists(self, call_id: str) -> bool:
        return await self._recordings.find_one({"_id": call_id}, {"_id": 1}) is not None

    async def slice(self, filters: RecordingFilter, part: Slice) -> Rows[Recording]:
        """In the order of `_id`, which is that of the calls' starts. Without their text."""
        query: dict[str, Any] = {} if filters.user_id is None else {"user_id": filters.user_id}
        keep = None
        if filters.key_id is not None and query:
            # An index serves one of them.
            def keep(recording: Recording) -> bool:
                return recording.key_id == filters.key_id
        elif filters.key_id is not None:
            query = {"key_id": filters.key_id}
        # A call's id begins with the time of its start.
        bounds = {"$gte": filters.since, "$lt": filters.until}
        ids = {name: first_uuid7(at) for name, at in bounds.items() if at is not None}
        if ids:
            query["_id"] = ids
        return await read_slice(
            self._recordings, query, part, Recording, keep=keep, projection=_HEAD
        )

    async def delete(self, call_id: str) -> bool:
        """Returns False if the call has no recording."""
        return (await self._recordings.delete_one({"_id": call_id})).deleted_count == 1

    async def delete_of_account(self, user_id: str, *, limit: int) -> int:
        """Deletes the oldest first. Returns how many; fewer than `limit` once all are deleted."""
        cursor = self._recordings.find({"user_id": user_id}, {"_id": 1}).sort("_id", ASCENDING)
        ids = [document["_id"] for document in await cursor.limit(limit).to_list(limit)]
        if not ids:
            return 0
        await self._recordings.delete_many({"_id": {"$in": ids}})
        return len(ids)


def _document(recording: Recording) -> dict[str, Any]:
    document = to_document(recording, key="call_id")
    # The upsert takes `_id` from its filter.
    del document["_id"]
    return document
