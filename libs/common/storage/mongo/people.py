"""The collection `people`, which the gateway's user cannot read."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from libs.common.schemas.person import Person
from libs.common.storage.mongo.driver import (
    ASCENDING,
    Database,
    DuplicateKeyError,
    ReturnDocument,
    at_revision,
    from_document,
    to_document,
)


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

    async def list(self, *, after: str | None, limit: int) -> list[Person]:
        """In order of person_id, starting after `after`."""
        query: dict[str, Any] = {} if after is None else {"_id": {"$gt": after}}
        cursor = self._people.find(query).sort("_id", ASCENDING).limit(limit)
        return [from_document(document, Person) for document in await cursor.to_list(limit)]

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
