"""The collection `prices`: immutable versions, written by the admin service."""

from collections.abc import Iterable

from libs.common.schemas.price import PriceVersion
from libs.common.storage.mongo import (
    ASCENDING,
    DESCENDING,
    Database,
    from_document,
    to_document,
)

# A model with more versions than this has been re-priced daily for years.
_MAX_VERSIONS = 5_000


class PriceStore:
    """Price versions, by model name or alias."""

    def __init__(self, database: Database) -> None:
        self._prices = database["prices"]

    async def create_indexes(self) -> None:
        await self._prices.create_index([("model", ASCENDING), ("effective_from", DESCENDING)])
        await self._prices.create_index("aliases")

    async def insert(self, version: PriceVersion) -> None:
        await self._prices.insert_one(to_document(version, key="price_id"))

    async def get(self, price_id: str) -> PriceVersion | None:
        document = await self._prices.find_one({"_id": price_id})
        return None if document is None else from_document(document, PriceVersion)

    async def versions_of(self, names: Iterable[str]) -> list[PriceVersion]:
        """Every version whose model or alias is one of the names, the newest first."""
        wanted = {"$in": sorted(set(names))}
        cursor = self._prices.find({"$or": [{"model": wanted}, {"aliases": wanted}]})
        cursor = cursor.sort("effective_from", DESCENDING).limit(_MAX_VERSIONS)
        documents = await cursor.to_list(_MAX_VERSIONS)
        return [from_document(document, PriceVersion) for document in documents]

    async def list(self, *, after: str | None, limit: int) -> list[PriceVersion]:
        """Ordered by price_id, those after `after`."""
        query = {} if after is None else {"_id": {"$gt": after}}
        cursor = self._prices.find(query).sort("_id", ASCENDING).limit(limit)
        return [from_document(document, PriceVersion) for document in await cursor.to_list(limit)]
