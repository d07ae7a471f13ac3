"""The collection `keys`."""

from collections.abc import Callable, Iterable
from datetime import datetime

from libs.common.schemas.key import ApiKey
from libs.common.storage.mongo.batched_reads import IDS_PER_READ, find_by_ids
from libs.common.storage.mongo.driver import (
    ASCENDING,
    Database,
    Document,
    from_document,
)
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.revised_store import RevisedStore
from libs.common.storage.mongo.slices import Rows, Slice, read_slice

_OLD_HASH = "old_secrets.secret_hash"
_PREFIXES = ("prefix", "old_secrets.prefix")
_MAX_ALIKE = 1_000
# Keys without budgets have no place in its index.
_BUDGETED: Document = {"budgets.period": {"$gt": ""}}
# Ids of one read that is to find few.
_MANY_IDS = 500

INDEXES = (
    index("keys", "secret_hash", unique=True),
    index("keys", _OLD_HASH, sparse=True),
    *(index("keys", field, sparse=True) for field in _PREFIXES),
    index("keys", "budgets.period", sparse=True),
    index("keys", "user_id", "_id"),
    index("keys", "expires_at"),
)


class KeyStore(RevisedStore[ApiKey]):
    """API keys, by id and by the hash of their secret."""

    def __init__(self, database: Database) -> None:
        super().__init__(database["keys"], ApiKey, key="key_id")
        # Whether many of the keys that `budgeted` was asked about last have budgets.
        self._many_budgeted = False

    async def get_by_hash(self, secret_hash: str) -> ApiKey | None:
        """Of its secret, or of one that was replaced, whether or not that still works."""
        for field in ("secret_hash", _OLD_HASH):
            key = await self._find_one({field: secret_hash})
            if key is not None:
                return key
        return None

    async def expiring(self, after: datetime, until: datetime, *, limit: int) -> list[ApiKey]:
        """Active keys that expire then, the soonest first."""
        query = {"expires_at": {"$gt": after, "$lte": until}, "status": "active"}
        cursor = self._collection.find(query).sort("expires_at", ASCENDING).limit(limit)
        return [from_document(document, ApiKey) for document in await cursor.to_list(limit)]

    async def names(self, key_ids: Iterable[str]) -> dict[str, str]:
        """By key_id; leaves out unknown keys."""
        documents = await find_by_ids(self._collection, sorted(key_ids), ("name",))
        return {document["_id"]: document["name"] for document in documents}

    async def budgeted(self, key_ids: Iterable[str]) -> list[ApiKey]:
        """The keys that have budgets of their own.

        Nearly always few have, and one read of the index of those that do tells. Where many have,
        ids are read as others are: some servers take the first index that a query names, and would
        compare each key that has budgets with each id.
        """
        sorted_ids = sorted(set(key_ids))
        at_once = IDS_PER_READ if self._many_budgeted else _MANY_IDS
        documents: list[Document] = []
        for start in range(0, len(sorted_ids), at_once):
            ids: Document = {"_id": {"$in": sorted_ids[start : start + at_once]}}
            query = ids | _BUDGETED if self._many_budgeted else _BUDGETED | ids
            documents += await self._collection.find(query).to_list(at_once)
        self._many_budgeted = 4 * len(documents) > len(sorted_ids)
        return [from_document(document, ApiKey) for document in documents]

    async def slice(
        self, part: Slice, *, user_id: str | None, keep: Callable[[ApiKey], bool]
    ) -> Rows[ApiKey]:
        """In the order of `_id`, which is that of their creation."""
        query: Document = {} if user_id is None else {"user_id": user_id}
        return await read_slice(self._collection, query, part, ApiKey, keep=keep)

    async def with_prefix(self, prefix: str) -> list[ApiKey]:
        """Those with a secret, or an old one, that begins with it: nearly always one."""
        keys: dict[str, ApiKey] = {}
        for field in _PREFIXES:
            cursor = self._collection.find({field: prefix}).limit(_MAX_ALIKE)
            for document in await cursor.to_list(_MAX_ALIKE):
                keys[document["_id"]] = from_document(document, ApiKey)
        return list(keys.values())

    async def with_budgets(self, part: Slice, *, user_id: str | None) -> list[ApiKey]:
        """Those that have budgets of their own, in the order of key_id."""
        query: Document = {"budgets.0": {"$exists": True}} | part.ids
        if user_id is not None:
            query["user_id"] = user_id
        cursor = self._collection.find(query).sort(part.order(same_value=False)).limit(part.limit)
        return [from_document(document, ApiKey) for document in await cursor.to_list(part.limit)]
