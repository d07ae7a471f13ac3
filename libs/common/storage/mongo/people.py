"""The collection `people`, which the gateway's user cannot read."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from libs.common.schemas.person import Person
from libs.common.storage.mongo.driver import (
    Database,
    DuplicateKeyError,
    ReturnDocument,
    at_revision,
    from_document,
    to_document,
)
from libs.common.storage.mongo.slices import Rows, Slice, read_slice


class PersonStore:
    """People, by id and by the hash of their admin key's secret."""

    def __init__(self, database: Database) -> None:
        self._people = database["people"]

    async def create_indexes(self) -> None:
        await self._people.create_index("secret_hash", unique=True)

    async def insert(self, person: Person) -> bool:
        """Returns False if its id or its secret is taken."""
        try:
            await self._people.insert_one(to_document(person, key="person_id"))
        except DuplicateKeyError:
            return False
        return True

    async def get(self, person_id: str) -> Person | None:
        return self._decode(await self._people.find_one({"_id": person_id}))

    async def get_by_hash(self, secret_hash: str) -> Person | None:
        return self._decode(await self._people.find_one({"secret_hash": secret_hash}))

    async def slice(self, wanted: Slice, *, keep: Callable[[Person], bool]) -> Rows[Person]:
        """In the order of `_id`."""
        return await read_slice(self._people, {}, wanted, Person, keep=keep)

    async def update(
        self, person_id: str, changes: Mapping[str, Any], now: datetime, *, revision: str
    ) -> Person | None:
        """Returns the updated person; None if unknown, or without the `revision` any more."""
        return self._decode(
            await self._people.find_one_and_update(
                {"_id": person_id, **at_revision(revision)},
                {"$set": {**changes, "updated_at": now}},
                return_document=ReturnDocument.AFTER,
            )
        )

    @staticmethod
    def _decode(document: Mapping[str, Any] | None) -> Person | None:
        return None if document is None else from_document(document, Person)
