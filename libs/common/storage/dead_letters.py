"""The collection `dead_letters`: what could not be posted, kept whole until someone looks at it."""

import hashlib
from datetime import datetime
from typing import Literal

import msgspec

from libs.common.storage.mongo import ASCENDING, Database, from_document, to_document

# An event and what it came in: one event, a batch of them, or arq's job around the batch. And the
# payload of an order.
LetterKind = Literal["event", "batch", "job", "correction", "reprice"]

# A MongoDB document holds 16 MiB; an event that is larger than this is damage.
_MAX_RAW_BYTES = 8 * 1024 * 1024
_MAX_REASON_CHARS = 500


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """`raw` is as it was received, unless `size` says that its end was cut off.

    `times` counts how often it was buried; `call_id` and `user_id` are known where readable.
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
    """The same bytes are the same letter, however often they are delivered."""
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
    """Letters by their id, which is a hash of what they hold."""

    def __init__(self, database: Database) -> None:
        self._letters = database["dead_letters"]

    async def create_indexes(self) -> None:
        await self._letters.create_index([("buried_at", ASCENDING)])

    async def bury(self, letter: DeadLetter) -> bool:
        """False where the letter was there already; then it is counted once more."""
        document = to_document(letter, key="letter_id") | {"raw": letter.raw}
        del document["_id"], document["times"], document["buried_at"]
        result = await self._letters.update_one(
            {"_id": letter.letter_id},
            {
                "$setOnInsert": document,
                "$set": {"buried_at": letter.buried_at},
                "$inc": {"times": 1},
            },
            upsert=True,
        )
        return result.upserted_id is not None

    async def list(self, *, after: str | None, limit: int) -> list[DeadLetter]:
        """Ordered by letter_id, those after `after`."""
        query = {} if after is None else {"_id": {"$gt": after}}
        cursor = self._letters.find(query).sort("_id", ASCENDING).limit(limit)
        return [from_document(document, DeadLetter) for document in await cursor.to_list(limit)]

    async def count(self) -> int:
        return await self._letters.count_documents({})

    async def remove(self, letter: DeadLetter) -> bool:
        """False where it has been buried again since it was read, and so must stay."""
        result = await self._letters.delete_one({"_id": letter.letter_id, "times": letter.times})
        return result.deleted_count == 1
