"""What the stores of changeable objects share: accounts, keys, people, routes, receivers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from libs.common.storage.mongo.driver import (
    Collection,
    Document,
    DuplicateKeyError,
    ReturnDocument,
    at_revision,
    from_document,
    to_document,
)

S = TypeVar("S", bound=msgspec.Struct)


class RevisedStore(Generic[S]):
    """Structs by id, each with a `revision` that every change replaces by another one."""

    def __init__(self, collection: Collection, struct_type: type[S], *, key: str) -> None:
        """`key` is the field that has the id."""
        self._collection = collection
        self._struct_type = struct_type
        self._key = key

    async def insert(self, struct: S) -> bool:
        """Returns False if its id is taken, or another field that is unique."""
        try:
            await self._collection.insert_one(to_document(struct, key=self._key))
        except DuplicateKeyError:
            return False
        return True

    async def get(self, object_id: str) -> S | None:
        return await self._find_one({"_id": object_id})

    async def update(
        self,
        object_id: str,
        changes: Mapping[str, Any],
        now: datetime | None = None,
        *,
        revision: str | None = None,
    ) -> S | None:
        """Sets the fields in `changes`, and `now` as `updated_at` of what has one.

        Returns what is stored then; None if it is unknown, or does not have the `revision` any
        more.
        """
        dated = {} if now is None else {"updated_at": now}
        document: Document | None = await self._collection.find_one_and_update(
            {"_id": object_id, **at_revision(revision)},
            {"$set": {**changes, **dated}},
            return_document=ReturnDocument.AFTER,
        )
        return self._decode(document)

    async def _find_one(self, query: Document) -> S | None:
        return self._decode(await self._collection.find_one(query))

    def _decode(self, document: Mapping[str, Any] | None) -> S | None:
        return None if document is None else from_document(document, self._struct_type)
