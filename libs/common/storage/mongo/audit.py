"""The collections `audit`, which is only ever added to, and `audit_head`."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from libs.common.schemas.audit import AuditHead, AuditRecord
from libs.common.storage.mongo.driver import (
    ASCENDING,
    DESCENDING,
    Database,
    Document,
    DuplicateKeyError,
    from_document,
    to_document,
)
from libs.common.storage.mongo.index import index

_HEAD = "head"
# Each with the order of the list.
_FILTERS = ("actor", "action", "kind", "object", "at")

INDEXES = (
    *(index("audit", field, "_id") for field in _FILTERS),
    index("audit", "request_id"),
    index("audit", "intent"),
)


class AuditStore:
    """Records by their numbers. A number is used once, which keeps the chain whole."""

    def __init__(self, database: Database) -> None:
        self._records = database["audit"]
        self._heads = database["audit_head"]

    async def add(self, record: AuditRecord) -> bool:
        """Whether its number was free."""
        document = to_document(record, key="seq")
        try:
            await self._records.insert_one(document)
        except DuplicateKeyError:
            return False
        return True

    async def last(self) -> AuditHead | None:
        """Of the last record, whatever else it may be."""
        documents = await self._records.find().sort("_id", DESCENDING).limit(1).to_list(1)
        return from_document(documents[0], AuditHead) if documents else None

    async def newest(
        self, query: Mapping[str, Any], *, before: int | None, limit: int
    ) -> list[AuditRecord]:
        """The newest first, starting below `before`. `query` names fields of the records."""
        conditions = dict(query) if before is None else {**query, "_id": {"$lt": before}}
        cursor = self._records.find(conditions).sort("_id", DESCENDING).limit(limit)
        return [from_document(document, AuditRecord) for document in await cursor.to_list(limit)]

    async def after(
        self, seq: int, *, limit: int, query: Mapping[str, Any] | None = None
    ) -> list[AuditRecord]:
        """The oldest first, starting above `seq`."""
        conditions = {**(query or {}), "_id": {"$gt": seq}}
        cursor = self._records.find(conditions).sort("_id", ASCENDING).limit(limit)
        return [from_document(document, AuditRecord) for document in await cursor.to_list(limit)]

    async def links(self, seq: int, *, limit: int) -> Sequence[AuditRecord | None]:
        """As `after`; None stands for a record that is no longer readable."""
        cursor = self._records.find({"_id": {"$gt": seq}}).sort("_id", ASCENDING).limit(limit)
        return [_read(document) for document in await cursor.to_list(limit)]

    async def settled(self, intents: Sequence[int]) -> set[int]:
        """Those of the intents that have an outcome."""
        query = {"intent": {"$in": list(intents)}}
        documents = await self._records.find(query, {"intent": 1}).to_list(None)
        return {document["intent"] for document in documents}

    async def get(self, seqs: Sequence[int]) -> dict[int, AuditRecord]:
        documents = await self._records.find({"_id": {"$in": list(seqs)}}).to_list(None)
        records = [from_document(document, AuditRecord) for document in documents]
        return {record.seq: record for record in records}

    async def note_head(self, head: AuditHead) -> None:
        """Stores the head apart from the records, so that removing the last ones shows."""
        try:
            await self._heads.update_one(
                {"_id": _HEAD, "seq": {"$lt": head.seq}},
                {"$set": {"seq": head.seq, "hash": head.hash}},
                upsert=True,
            )
        except DuplicateKeyError:
            # A later one is noted.
            return

    async def noted_head(self) -> AuditHead | None:
        document = await self._heads.find_one({"_id": _HEAD})
        return None if document is None else from_document(document, AuditHead)


def _read(document: Document) -> AuditRecord | None:
    try:
        return from_document(document, AuditRecord)
    except msgspec.ValidationError:
        return None
