"""The collection `alert_receivers`, written by the admin service."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from libs.common.schemas.alert import Receiver
from libs.common.storage.mongo.driver import (
    Database,
    Document,
    DuplicateKeyError,
    ReturnDocument,
    at_revision,
    from_document,
    to_document,
)
from libs.common.storage.mongo.slices import Rows, Slice, read_slice

# The admin service makes no more; each costs the worker a task and every alert a message.
MAX_RECEIVERS = 20


class ReceiverStore:
    """Receivers by id."""

    def __init__(self, database: Database) -> None:
        self._receivers = database["alert_receivers"]

    async def insert(self, receiver: Receiver) -> bool:
        """Returns False if its id is taken."""
        try:
            await self._receivers.insert_one(to_document(receiver, key="receiver_id"))
        except DuplicateKeyError:
            return False
        return True

    async def get(self, receiver_id: str) -> Receiver | None:
        document = await self._receivers.find_one({"_id": receiver_id})
        return None if document is None else from_document(document, Receiver)

    async def count(self) -> int:
        return await self._receivers.count_documents({})

    async def all(self) -> list[Receiver]:
        """In order of their ids, which is that of their making."""
        return (await self.slice(Slice(limit=2 * MAX_RECEIVERS))).rows

    async def slice(self, wanted: Slice) -> Rows[Receiver]:
        """In the order of `_id`."""
        return await read_slice(self._receivers, {}, wanted, Receiver)

    async def update(
        self,
        receiver_id: str,
        changes: Mapping[str, Any],
        now: datetime,
        *,
        revision: str | None = None,
    ) -> Receiver | None:
        """Returns None if it is unknown, or does not have the `revision` any more."""
        document: Document | None = await self._receivers.find_one_and_update(
            {"_id": receiver_id, **at_revision(revision)},
            {"$set": {**changes, "updated_at": now}},
            return_document=ReturnDocument.AFTER,
        )
        return None if document is None else from_document(document, Receiver)

    async def remove(self, receiver_id: str, *, revision: str) -> bool:
        """Returns False if it does not have the `revision` any more."""
        result = await self._receivers.delete_one({"_id": receiver_id, **at_revision(revision)})
        return result.deleted_count == 1
