"""The collection `alert_receivers`, written by the admin service."""

from libs.common.schemas.alert import Receiver
from libs.common.storage.mongo.driver import (
    Database,
    at_revision,
)
from libs.common.storage.mongo.revised_store import RevisedStore
from libs.common.storage.mongo.slices import Rows, Slice, read_slice

# The admin service makes no more; each costs the worker a task and every alert a message.
MAX_RECEIVERS = 20


class ReceiverStore(RevisedStore[Receiver]):
    """Receivers by id."""

    def __init__(self, database: Database) -> None:
        super().__init__(database["alert_receivers"], Receiver, key="receiver_id")

    async def count(self) -> int:
        return await self._collection.count_documents({})

    async def all(self) -> list[Receiver]:
        """In order of their ids, which is that of their making."""
        return (await self.slice(Slice(limit=2 * MAX_RECEIVERS))).rows

    async def slice(self, part: Slice) -> Rows[Receiver]:
        """In the order of `_id`."""
        return await read_slice(self._collection, {}, part, Receiver)

    async def delete(self, receiver_id: str, *, revision: str) -> bool:
        """Returns False if it does not have the `revision` any more."""
        result = await self._collection.delete_one({"_id": receiver_id, **at_revision(revision)})
        return result.deleted_count == 1
