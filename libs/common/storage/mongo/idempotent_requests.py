"""The collection `idempotent_requests`: which requests were made, and what they were answered.

MongoDB deletes them some time after they end; until then an ended one counts no more.
"""

from datetime import datetime

import msgspec

from libs.common.storage.mongo.driver import (
    Database,
    Document,
    DuplicateKeyError,
    from_document,
    to_document,
)
from libs.common.storage.mongo.index import index

INDEXES = (index("idempotent_requests", "ends_at", expires=True),)


class KeptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`body` is encrypted, and stored as `sealed`; None if it was too large to be kept."""

    status: int
    headers: dict[str, str]
    body: bytes | None = msgspec.field(name="sealed")


class IdempotentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`digest` is that of the request's parameters. What it makes has its ids from `seed`.

    An attempt without an answer is under way until `lease_until`; then it has died.
    """

    request_hash: str
    digest: str
    seed: bytes
    attempt: str
    began_at: datetime
    lease_until: datetime
    ends_at: datetime
    answer: KeptAnswer | None = None


class IdempotentRequestStore:
    """Requests by the hash of who made them and their `Idempotency-Key`."""

    def __init__(self, database: Database) -> None:
        self._requests = database["idempotent_requests"]

    async def begin(self, request: IdempotentRequest) -> bool:
        """Keeps the request. Returns False if there is one already."""
        try:
            await self._requests.insert_one(_document(request))
        except DuplicateKeyError:
            return False
        return True

    async def get(self, request_hash: str) -> IdempotentRequest | None:
        document = await self._requests.find_one({"_id": request_hash})
        return None if document is None else from_document(document, IdempotentRequest)

    async def replace(self, before: IdempotentRequest, after: IdempotentRequest) -> bool:
        """Returns False if another attempt came first."""
        result = await self._requests.replace_one(_at(before), _document(after))
        return bool(result.matched_count)

    async def release(self, request: IdempotentRequest) -> None:
        """Forgets the attempt: it has changed nothing."""
        await self._requests.delete_one(_at(request))


def _at(request: IdempotentRequest) -> Document:
    return {"_id": request.request_hash, "attempt": request.attempt}


def _document(request: IdempotentRequest) -> Document:
    document = to_document(request, key="request_hash") | {"seed": request.seed}
    if request.answer is not None:
        document["answer"]["sealed"] = request.answer.body
    return document
