"""The collection `routes`."""

from collections.abc import Callable, Mapping
from typing import Any

from libs.common.schemas.route import Route
from libs.common.storage.mongo.driver import (
    ASCENDING,
    Database,
    DuplicateKeyError,
    ReturnDocument,
    at_revision,
    from_document,
    to_document,
)
from libs.common.storage.mongo.slices import Rows, Slice, read_slice


class RouteStore:
    """Model routes, by public name."""

    def __init__(self, database: Database) -> None:
        self._routes = database["routes"]

    async def insert(self, route: Route) -> bool:
        """Returns False if the name is taken."""
        try:
            await self._routes.insert_one(to_document(route, key="model"))
        except DuplicateKeyError:
            return False
        return True

    async def get(self, model: str) -> Route | None:
        return self._decode(await self._routes.find_one({"_id": model}))

    async def list(self, *, after: str | None, limit: int) -> list[Route]:
        """In order of name, starting after `after`."""
        query = {} if after is None else {"_id": {"$gt": after}}
        cursor = self._routes.find(query).sort("_id", ASCENDING).limit(limit)
        return [from_document(document, Route) for document in await cursor.to_list(limit)]

    async def slice(self, wanted: Slice, *, keep: Callable[[Route], bool]) -> Rows[Route]:
        """In the order of `_id`."""
        return await read_slice(self._routes, {}, wanted, Route, keep=keep)

    async def update(
        self, model: str, changes: Mapping[str, Any], *, revision: str | None = None
    ) -> Route | None:
        """Sets the fields in `changes`. Returns the updated route.

        Returns None if it is unknown, or does not have the `revision` any more.
        """
        return self._decode(
            await self._routes.find_one_and_update(
                {"_id": model, **at_revision(revision)},
                {"$set": dict(changes)},
                return_document=ReturnDocument.AFTER,
            )
        )

    async def delete(self, model: str, *, revision: str | None = None) -> bool:
        """Returns False if the name is unknown, or without the `revision`."""
        result = await self._routes.delete_one({"_id": model, **at_revision(revision)})
        return bool(result.deleted_count)

    @staticmethod
    def _decode(document: Mapping[str, Any] | None) -> Route | None:
        return None if document is None else from_document(document, Route)
