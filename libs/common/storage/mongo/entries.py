"""Entries by id, their corrections, and the entries that wait for a price."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from libs.common.domain.ids import first_uuid7
from libs.common.schemas.entry import EntryStatus, LedgerEntry
from libs.common.storage.mongo.batched_reads import one_of
from libs.common.storage.mongo.driver import ASCENDING, Database, Document, from_document
from libs.common.storage.mongo.slices import Slice, both_conditions

# No honest use gives one entry more corrections.
_MAX_CORRECTIONS = 500
# Calls that one request continues; a container has one for each call that ran in it.
_MAX_MAKERS = 1_000

# The most that the time in an id differs from the start of its call.
_ID_SLACK = timedelta(hours=1)


class EntrySelector(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that started from `since` (inclusive) to `until` (exclusive)."""

    since: datetime
    until: datetime
    user_id: str | None = None
    model: str | None = None
    provider: str | None = None
    status: EntryStatus | None = None


class EntryStore:
    """Reads the collections `entries` and `unpriced`, which `LedgerStore` writes."""

    def __init__(self, database: Database) -> None:
        self._entries = database["entries"]
        self._unpriced = database["unpriced"]

    async def get(self, entry_id: str) -> LedgerEntry | None:
        document = await self._entries.find_one({"_id": entry_id})
        return None if document is None else from_document(document, LedgerEntry)

    async def get_many(self, entry_ids: Sequence[str]) -> list[LedgerEntry]:
        """In order of id. Leaves out unknown ids."""
        cursor = self._entries.find({"_id": {"$in": list(entry_ids)}}).sort("_id", ASCENDING)
        documents = await cursor.to_list(len(entry_ids))
        return [from_document(document, LedgerEntry) for document in documents]

    async def makers_of(self, user_id: str, object_ids: Sequence[str]) -> list[LedgerEntry]:
        """The account's calls that made these responses or other objects."""
        entries: list[LedgerEntry] = []
        for name in ("response_id", "objects"):
            query = {name: {"$in": list(object_ids)}, "user_id": user_id}
            documents = await self._entries.find(query).to_list(_MAX_MAKERS)
            entries += (from_document(document, LedgerEntry) for document in documents)
        return entries

    async def existing_ids(self, entry_ids: Sequence[str]) -> set[str]:
        """The ids that are in the ledger."""
        cursor = self._entries.find({"_id": {"$in": list(entry_ids)}}, {"_id": 1})
        return {document["_id"] for document in await cursor.to_list(len(entry_ids) or 1)}

    async def corrections_of(self, entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
        """Direct corrections of these entries, by account in the order of posting."""
        if not entries:
            return []
        cursor = self._entries.find(
            {
                "corrects": {"$in": [entry.entry_id for entry in entries]},
                "user_id": one_of(entry.user_id for entry in entries),
            }
        )
        documents = await cursor.sort("seq", ASCENDING).to_list(_MAX_CORRECTIONS * len(entries))
        return [from_document(document, LedgerEntry) for document in documents]

    async def select(self, selector: EntrySelector, part: Slice) -> Sequence[LedgerEntry]:
        """Calls in the order of their ids, without their corrections.

        Ids begin with a time, so the index on ids bounds the read.
        """
        ids = {
            "$gte": first_uuid7(selector.since, -_ID_SLACK),
            "$lt": first_uuid7(selector.until, _ID_SLACK),
        }
        query: dict[str, Any] = {
            "started_at": {"$gte": selector.since, "$lt": selector.until},
            "kind": {"$in": ["call", "late_event"]},
        }
        for name in ("user_id", "model", "provider", "status"):
            value = getattr(selector, name)
            if value is not None:
                query[name] = value
        query = both_conditions(query | {"_id": ids}, part.ids)
        cursor = self._entries.find(query).sort(part.order(same_value=False)).limit(part.limit)
        documents = await cursor.to_list(part.limit)
        return [from_document(document, LedgerEntry) for document in documents]

    async def open_models(self, *, limit: int) -> list[tuple[str, str]]:
        """(provider, model) pairs that have entries without a price."""
        pair = {"_id": {"provider": "$provider", "model": "$model"}}
        pipeline: list[Document] = [{"$group": pair}, {"$sort": {"_id": 1}}, {"$limit": limit}]
        rows = await self._unpriced.aggregate(pipeline).to_list(limit)
        return [(row["_id"]["provider"], row["_id"]["model"]) for row in rows]

    async def open_entries(
        self, provider: str, model: str, *, after: str | None, limit: int
    ) -> list[str]:
        """Ids of entries without a price, in order, starting after `after`."""
        query: dict[str, Any] = {"provider": provider, "model": model}
        if after is not None:
            query["_id"] = {"$gt": after}
        cursor = self._unpriced.find(query).sort("_id", ASCENDING).limit(limit)
        return [document["_id"] for document in await cursor.to_list(limit)]
