"""Entries by their ids: what corrects them, and which of them wait for a price."""

from collections.abc import Sequence
from typing import Any

from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo import ASCENDING, Database, Document, from_document

# More corrections of one entry than this are nobody's honest work.
_MAX_CORRECTIONS = 500


class EntryStore:
    """Reads what `LedgerStore` posts: the collections `entries` and `unpriced`."""

    def __init__(self, database: Database) -> None:
        self._entries = database["entries"]
        self._unpriced = database["unpriced"]

    async def get(self, entry_id: str) -> LedgerEntry | None:
        document = await self._entries.find_one({"_id": entry_id})
        return None if document is None else from_document(document, LedgerEntry)

    async def get_many(self, entry_ids: Sequence[str]) -> list[LedgerEntry]:
        """Those of them that exist, ordered by id."""
        found = self._entries.find({"_id": {"$in": list(entry_ids)}}).sort("_id", ASCENDING)
        documents = await found.to_list(len(entry_ids))
        return [from_document(document, LedgerEntry) for document in documents]

    async def corrections_of(self, entry_ids: Sequence[str]) -> list[LedgerEntry]:
        """What corrects these entries directly, by account in the order of posting."""
        found = self._entries.find({"corrects": {"$in": list(entry_ids)}})
        documents = await found.sort("seq", ASCENDING).to_list(_MAX_CORRECTIONS * len(entry_ids))
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
        """Ids of entries without a price, in order, those after `after`."""
        query: dict[str, Any] = {"provider": provider, "model": model}
        if after is not None:
            query["_id"] = {"$gt": after}
        found = self._unpriced.find(query).sort("_id", ASCENDING).limit(limit)
        return [document["_id"] for document in await found.to_list(limit)]
