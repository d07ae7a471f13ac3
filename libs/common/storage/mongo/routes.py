"""The collection `routes`."""

from collections.abc import Callable

from libs.common.schemas.route import Route
from libs.common.storage.mongo.driver import (
    ASCENDING,
    Database,
    at_revision,
    from_document,
)
from libs.common.storage.mongo.revised_store import RevisedStore
from libs.common.storage.mongo.slices import Rows, Slice, read_slice


class RouteStore(RevisedStore[Route]):
    """Model routes, by public name."""

    def __init__(self, database: Database) -> None:
        super().__init__(database["routes"], Route, key="model")

    async def list(self, *, after: str | None, limit: int) -> list[Route]:
        """In order of name, starting after `after`."""
        query = {} if after is None else {"_id": {"$gt": after}}
        cursor = self._collection.find(query).sort("_id", ASCENDING).limit(limit)
        return [from_document(document, Route) for document in await cursor.to_list(limit)]

    async def slice(self, part: Slice, *, keep: Callable[[Route], bool]) -> Rows[Route]:
        """In the order of `_id`."""
        return await read_slice(self._collection, {}, part, Route, keep=keep)

    async def delete(self, model: str, *, revision: str | None = None) -> bool:
        """Returns False if the name is unknown, or without the `revision`."""
        result = await self._collection.delete_one({"_id": model, **at_revision(revision)})
        return bool(result.deleted_count)
