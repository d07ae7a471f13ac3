"""The collection `accounts`."""

from collections.abc import Callable, Iterable

from libs.common.schemas.account import Account, BudgetedAccount
from libs.common.storage.mongo.account_spend import spend_fields
from libs.common.storage.mongo.driver import (
    Database,
    Document,
    from_document,
)
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.revised import RevisedStore
from libs.common.storage.mongo.slices import Rows, Slice, read_slice

INDEXES = (index("accounts", "created_at", "_id"),)


class AccountStore(RevisedStore[Account]):
    """Configuration of accounts. `LedgerStore` alone writes `spent_nusd`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database["accounts"], Account, key="user_id")

    async def get_many(self, user_ids: Iterable[str]) -> list[Account]:
        """Leaves out unknown accounts."""
        wanted = sorted(set(user_ids))
        found = self._collection.find({"_id": {"$in": wanted}})
        return [from_document(d, Account) for d in await found.to_list(len(wanted))]

    async def time_zones(self, user_ids: Iterable[str]) -> dict[str, str]:
        """By user_id; leaves out unknown accounts."""
        wanted = sorted(set(user_ids))
        found = self._collection.find({"_id": {"$in": wanted}}, {"time_zone": 1})
        return {d["_id"]: d.get("time_zone", "UTC") for d in await found.to_list(len(wanted))}

    async def slice(
        self, wanted: Slice, *, keep: Callable[[Account], bool], keeps_few: bool = False
    ) -> Rows[Account]:
        """In the order of `_id` or `created_at`."""
        return await read_slice(
            self._collection, {}, wanted, Account, keep=keep, keeps_few=keeps_few
        )

    async def with_budgets(
        self, part: Slice, periods: Iterable[str]
    ) -> list[tuple[BudgetedAccount, Document]]:
        """Those that have budgets, in the order of user_id; each with a document, as
        `LedgerReader.spend_of_documents` takes it for these `periods`.
        """
        query: Document = {"budgets.0": {"$exists": True}} | part.ids
        fields = (*BudgetedAccount.__struct_fields__, *spend_fields(periods))
        found = self._collection.find(query, dict.fromkeys(fields, 1))
        found = found.sort(part.order(same_value=False)).limit(part.limit)
        documents = await found.to_list(part.limit)
        return [(from_document(document, BudgetedAccount), document) for document in documents]
