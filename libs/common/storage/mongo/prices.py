"""The collection `prices`: versions that may end but not change, written by the admin service."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime

from libs.common.domain.price_lookup import has_pattern
from libs.common.schemas.price import PriceVersion
from libs.common.storage.mongo.driver import (
    ASCENDING,
    DESCENDING,
    Database,
    Document,
    ReturnDocument,
    from_document,
    to_document,
)

# A model with more versions than this has been re-priced daily for years.
_MAX_VERSIONS = 5_000
# Every look-up reads them.
_MAX_PATTERNS = 1_000


class PriceStore:
    """Price versions, by model name or alias."""

    def __init__(self, database: Database) -> None:
        self._prices = database["prices"]

    async def create_indexes(self) -> None:
        await self._prices.create_index([("model", ASCENDING), ("effective_from", DESCENDING)])
        await self._prices.create_index("aliases")
        await self._prices.create_index("has_pattern", sparse=True)

    async def insert(self, version: PriceVersion) -> None:
        await self._prices.insert_one(_document(version))

    async def insert_many(self, versions: Sequence[PriceVersion]) -> None:
        """At once, so no more than MongoDB takes within the time of one operation."""
        await self._prices.insert_many([_document(v) for v in versions])

    async def end(self, price_id: str, until: datetime) -> PriceVersion | None:
        """Ends the version at `until`, unless it ends before; None where there is no such version.

        The one thing about a version that may change, and only towards an earlier end.
        """
        later: Document = {"$or": [{"effective_until": None}, {"effective_until": {"$gt": until}}]}
        document: Document | None = await self._prices.find_one_and_update(
            {"_id": price_id, **later},
            {"$set": {"effective_until": until}},
            return_document=ReturnDocument.AFTER,
        )
        if document is None:
            return await self.get(price_id)
        return from_document(document, PriceVersion)

    async def get(self, price_id: str) -> PriceVersion | None:
        document = await self._prices.find_one({"_id": price_id})
        return None if document is None else from_document(document, PriceVersion)

    async def versions_of(self, names: Iterable[str]) -> list[PriceVersion]:
        """Every version whose model or alias is one of the names, the newest first.

        And the other versions of models that go by an alias: one of them may have taken over
        without the alias.
        """
        wanted = set(names)
        by_model, by_alias = await asyncio.gather(
            self._find("model", wanted), self._find("aliases", wanted)
        )
        others = {version.model for version in by_alias} - wanted
        versions = [*by_model, *by_alias, *(await self._find("model", others) if others else ())]
        found = {version.price_id: version for version in versions}
        return sorted(found.values(), key=lambda version: version.effective_from, reverse=True)

    async def patterns(self) -> list[PriceVersion]:
        """Every version whose model or alias is a pattern, the newest first."""
        cursor = self._prices.find({"has_pattern": True}).sort("effective_from", DESCENDING)
        documents = await cursor.limit(_MAX_PATTERNS).to_list(_MAX_PATTERNS)
        return [from_document(document, PriceVersion) for document in documents]

    async def _find(self, field: str, names: set[str]) -> list[PriceVersion]:
        """One field at a time: not every server answers an `$or` of two through their indexes."""
        cursor = self._prices.find({field: {"$in": sorted(names)}})
        cursor = cursor.sort("effective_from", DESCENDING).limit(_MAX_VERSIONS)
        documents = await cursor.to_list(_MAX_VERSIONS)
        return [from_document(document, PriceVersion) for document in documents]

    async def models(self, *, after: str | None, limit: int) -> list[str]:
        """The models that have versions, ordered by name, those after `after`."""
        named: list[Document] = [] if after is None else [{"$match": {"model": {"$gt": after}}}]
        pipeline: list[Document] = [
            *named,
            {"$group": {"_id": "$model"}},
            {"$sort": {"_id": ASCENDING}},
            {"$limit": limit},
        ]
        return [row["_id"] for row in await self._prices.aggregate(pipeline).to_list(limit)]

    async def list(self, *, after: str | None, limit: int) -> list[PriceVersion]:
        """Ordered by price_id, those after `after`."""
        query = {} if after is None else {"_id": {"$gt": after}}
        cursor = self._prices.find(query).sort("_id", ASCENDING).limit(limit)
        return [from_document(document, PriceVersion) for document in await cursor.to_list(limit)]


def _document(version: PriceVersion) -> Document:
    """With a mark on patterns, which no look-up by name finds."""
    document = to_document(version, key="price_id")
    return document | {"has_pattern": True} if has_pattern(version) else document
