"""The collection `accounts`."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from libs.common.schemas.account import Account
from libs.common.storage.mongo.driver import (
    ASCENDING,
    Database,
    Document,
    DuplicateKeyError,
    ReturnDocument,
    at_revision,
    from_document,
    to_document,
)
from libs.common.storage.mongo.slices import Rows, Slice, read_slice


class AccountStore:
    """Configuration of accounts. `LedgerStore` alone writes `spent_nusd`."""

    def __init__(self, database: Database) -> None:
        self._accounts = database["accounts"]

    async def create_indexes(self) -> None:
        await self._accounts.create_index([("created_at", ASCENDING), ("_id", ASCENDING)])

    async def insert(self, account: Account) -> bool:
        """Returns False if the user_id is taken."""
        try:
            await self._accounts.insert_one(to_document(account, key="user_id"))
        except DuplicateKeyError:
            return False
        return True

    async def get(self, user_id: str) -> Account | None:
        document = await self._accounts.find_one({"_id": user_id})
        return None if document is None else from_document(document, Account)

    async def get_many(self, user_ids: Iterable[str]) -> list[Account]:
        """Leaves out unknown accounts."""
        wanted = sorted(set(user_ids))
        found = self._accounts.find({"_id": {"$in": wanted}})
        return [from_document(d, Account) for d in await found.to_list(len(wanted))]

    async def time_zones(self, user_ids: Iterable[str]) -> dict[str, str]:
        """By user_id; leaves out unknown accounts."""
        wanted = sorted(set(user_ids))
        found = self._accounts.find({"_id": {"$in": wanted}}, {"time_zone": 1})
        return {d["_id"]: d.get("time_zone", "UTC") for d in await found.to_list(len(wanted))}

    async def slice(self, wanted: Slice, *, keep: Callable[[Account], bool]) -> Rows[Account]:
        """In the order of `_id` or `created_at`."""
        return await read_slice(self._accounts, {}, wanted, Account, keep=keep)

    async def with_budgets(self, *, after: str | None, limit: int) -> list[Account]:
        """Those that have budgets, in order of user_id, starting after `after`."""
        query: Document = {"budgets.0": {"$exists": True}}
        if after is not None:
            query["_id"] = {"$gt": after}
        cursor = self._accounts.find(query).sort("_id", ASCENDING).limit(limit)
        return [from_document(document, Account) for document in await cursor.to_list(limit)]

    async def update(
        self,
        user_id: str,
        changes: Mapping[str, Any],
        now: datetime,
        *,
        revision: str | None = None,
    ) -> Account | None:
        """Sets the fields in `changes`. Returns the updated account.

        Returns None if it is unknown, or does not have the `revision` any more.
        """
        document: Document | None = await self._accounts.find_one_and_update(
            {"_id": user_id, **at_revision(revision)},
            {"$set": {**changes, "updated_at": now}},
            return_document=ReturnDocument.AFTER,
        )
        return None if document is None else from_document(document, Account)
