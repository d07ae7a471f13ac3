"""The collection `accounts`."""

from collections.abc import Callable, Iterable

from libs.common.schemas.account import Account, AccountName, AccountStatus, BudgetedAccount
from libs.common.storage.mongo.account_spend import SpendingAccount, spend_fields
from libs.common.storage.mongo.batched_reads import find_by_ids
from libs.common.storage.mongo.driver import (
    Database,
    Document,
    from_document,
)
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.revised_store import RevisedStore
from libs.common.storage.mongo.slices import Rows, Slice, read_slice

_USUAL: AccountStatus = "active"
INDEXES = (
    index("accounts", "created_at", "_id"),
    # Of every other status. In the order of their time, few are sorted, and many are found by the
    # index on that.
    index("accounts", "status", "_id", above=_USUAL),
)


class AccountStore(RevisedStore[Account]):
    """Configuration of accounts. `LedgerStore` alone writes `spent_nusd`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database["accounts"], Account, key="user_id")

    async def get_many(self, user_ids: Iterable[str]) -> list[SpendingAccount]:
        """Leaves out unknown accounts."""
        documents = await find_by_ids(self._collection, sorted(set(user_ids)))
        return [from_document(document, SpendingAccount) for document in documents]

    async def time_zones(self, user_ids: Iterable[str]) -> dict[str, str]:
        """By user_id; leaves out unknown accounts."""
        ids = sorted(set(user_ids))
        cursor = self._collection.find({"_id": {"$in": ids}}, {"time_zone": 1})
        return {d["_id"]: d.get("time_zone", "UTC") for d in await cursor.to_list(len(ids))}

    async def slice(
        self, part: Slice, *, keep: Callable[[Account], bool], status: AccountStatus | None
    ) -> Rows[SpendingAccount]:
        """In the order of `_id` or `created_at`. None: of every status."""
        query = _of_status(status)
        return await read_slice(self._collection, query, part, SpendingAccount, keep=keep)

    async def search(
        self,
        part: Slice,
        *,
        keep: Callable[[Account | AccountName], bool],
        status: AccountStatus | None,
    ) -> Rows[SpendingAccount]:
        """As `slice`, where few are kept: of the others no more is read than their names."""
        fields = (*AccountName.__struct_fields__, part.field)
        names = await read_slice(
            self._collection,
            _of_status(status),
            part,
            AccountName,
            keep=keep,
            projection=dict.fromkeys(fields, 1),
            keeps_few=True,
        )
        accounts = {
            account.user_id: account
            for account in await self.get_many(name.user_id for name in names.rows)
            # It may have been changed since.
            if keep(account)
        }
        rows = [accounts[name.user_id] for name in names.rows if name.user_id in accounts]
        return Rows(rows=rows, first=names.first, rest=names.rest)

    async def with_budgets(
        self, part: Slice, periods: Iterable[str]
    ) -> list[tuple[BudgetedAccount, Document]]:
        """Those that have budgets, in the order of user_id; each with a document, as
        `LedgerReader.spend_of_documents` takes it for these `periods`.
        """
        query: Document = {"budgets.0": {"$exists": True}} | part.ids
        fields = (*BudgetedAccount.__struct_fields__, *spend_fields(periods))
        cursor = self._collection.find(query, dict.fromkeys(fields, 1))
        cursor = cursor.sort(part.order(same_value=False)).limit(part.limit)
        documents = await cursor.to_list(part.limit)
        return [(from_document(document, BudgetedAccount), document) for document in documents]


def _of_status(status: AccountStatus | None) -> Document:
    """What an index answers. Accounts of the usual status may have none in their documents."""
    return {} if status in (None, _USUAL) else {"status": status}
