"""The collection `people`, which the gateway's user cannot read."""

from collections.abc import Callable

from libs.common.schemas.person import Person
from libs.common.storage.mongo.driver import (
    Database,
)
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.revised_store import RevisedStore
from libs.common.storage.mongo.slices import Rows, Slice, read_slice

INDEXES = (index("people", "secret_hash", unique=True),)


class PersonStore(RevisedStore[Person]):
    """People, by id and by the hash of their admin key's secret."""

    def __init__(self, database: Database) -> None:
        super().__init__(database["people"], Person, key="person_id")

    async def get_by_hash(self, secret_hash: str) -> Person | None:
        return await self._find_one({"secret_hash": secret_hash})

    async def slice(self, part: Slice, *, keep: Callable[[Person], bool]) -> Rows[Person]:
        """In the order of `_id`."""
        return await read_slice(self._collection, {}, part, Person, keep=keep)
