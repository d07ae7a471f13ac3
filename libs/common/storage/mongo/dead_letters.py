"""The collection `dead_letters`: payloads that could not be posted, kept for an operator."""

import hashlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from libs.common.storage.mongo.driver import ASCENDING, Database, from_document, to_document
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.slices import Rows, Slice, read_slice

# One event, a batch of events, or arq's job around the batch; and the payload of an order.
LetterKind = Literal["event", "batch", "job", "correction", "reprice"]

# A MongoDB document holds 16 MiB. Only a damaged event is larger than this.
_MAX_RAW_BYTES = 8 * 1024 * 1024
_MAX_REASON_CHARS = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

INDEXES = (index("dead_letters", "replayed_at", "_id"),)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """`raw` is the payload as received; its end was cut off if `size` is larger than its length.

    `times` counts how often the payload was dead-lettered; `call_id` and `user_id` are None if they
    cannot be read. A replayed letter is kept until its content is posted, or fails again.
    """

    letter_id: str
    kind: LetterKind
    reason: str
    job_id: str
    buried_at: datetime
    raw: bytes
    size: int
    times: int = 1
    call_id: str | None = None
    user_id: str | None = None
    replayed_at: datetime | None = None


def new_letter(
    kind: LetterKind,
    raw: bytes,
    *,
    reason: str,
    job_id: str,
    buried_at: datetime,
    call_id: str | None = None,
    user_id: str | None = None,
) -> DeadLetter:
    """The letter's id is a hash of `kind` and `raw`, so a repeated delivery is the same letter."""
    return DeadLetter(
        letter_id=hashlib.sha256(kind.encode() + b":" + raw).hexdigest(),
        kind=kind,
        reason=reason[:_MAX_REASON_CHARS],
        job_id=job_id,
        buried_at=buried_at,
        raw=raw[:_MAX_RAW_BYTES],
        size=len(raw),
        call_id=call_id,
        user_id=user_id,
    )


class DeadLetterStore:
    """Letters by id."""

    def __init__(self, database: Database) -> None:
        self._letters = database["dead_letters"]

    async def add(self, letter: DeadLetter) -> bool:
        """Returns False if the letter exists already; its `times` then grows by 1."""
        document = to_document(letter, key="letter_id") | {"raw": letter.raw}
        for name in ("_id", "times", "buried_at", "replayed_at"):
            del document[name]
        result = await self._letters.update_one(
            {"_id": letter.letter_id},
            {
                "$setOnInsert": document,
                "$set": {"buried_at": letter.buried_at, "replayed_at": None},
                "$inc": {"times": 1},
            },
            upsert=True,
        )
        return result.upserted_id is not None

    async def get_many(self, letter_ids: Collection[str]) -> Sequence[DeadLetter]:
        """Leaves out unknown ids. Includes replayed letters."""
        cursor = self._letters.find({"_id": {"$in": sorted(letter_ids)}}).sort("_id", ASCENDING)
        documents = await cursor.to_list(len(letter_ids))
        return [from_document(document, DeadLetter) for document in documents]

    async def count(self) -> int:
        """Counts the letters that were not replayed."""
        return await self._letters.count_documents({"replayed_at": None})

    async def mark_replayed(self, letter: DeadLetter, at: datetime) -> bool:
        """Returns False, and marks nothing, if the letter was dead-lettered again meanwhile."""
        result = await self._letters.update_one(
            {"_id": letter.letter_id, "times": letter.times}, {"$set": {"replayed_at": at}}
        )
        return result.matched_count == 1

    async def remove(self, letter: DeadLetter) -> bool:
        """Returns False, and removes nothing, if the letter was dead-lettered again meanwhile."""
        result = await self._letters.delete_one({"_id": letter.letter_id, "times": letter.times})
        return result.deleted_count == 1

    async def slice(self, part: Slice, *, replayed: bool) -> Rows[DeadLetter]:
        """In the order of `_id`: waiting letters, or replayed ones."""
        if not replayed:
            return await read_slice(self._letters, {"replayed_at": None}, part, DeadLetter)

        def keep(letter: DeadLetter) -> bool:
            return letter.replayed_at is not None

        return await read_slice(self._letters, {}, part, DeadLetter, keep=keep)

    async def list(
        self, *, after: str | None, limit: int, replayed: bool = False
    ) -> list[DeadLetter]:
        """In order of letter_id, starting after `after`: waiting letters, or replayed ones."""
        query: dict[str, Any] = {"replayed_at": {"$gt": _EPOCH} if replayed else None}
        if after is not None:
            query["_id"] = {"$gt": after}
        cursor = self._letters.find(query).sort("_id", ASCENDING).limit(limit)
        return [from_document(document, DeadLetter) for document in await cursor.to_list(limit)]
