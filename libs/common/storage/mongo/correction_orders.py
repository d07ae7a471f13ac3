"""The collection `correction_orders`: orders by their idempotency key."""

from datetime import datetime

import msgspec

from libs.common.schemas.correction import CorrectionOrder
from libs.common.storage.mongo.driver import Database, Document, DuplicateKeyError


class CorrectionOrderStore:
    """Orders never expire, so that a key never stands for two of them."""

    def __init__(self, database: Database) -> None:
        self._orders = database["correction_orders"]

    async def get(self, key: str) -> CorrectionOrder | None:
        document = await self._orders.find_one({"_id": key})
        return None if document is None else msgspec.convert(document["order"], CorrectionOrder)

    async def keep(self, key: str, order: CorrectionOrder) -> CorrectionOrder:
        """Returns the first order under that key: this one, or an earlier one."""
        document: Document = msgspec.to_builtins(order, builtin_types=(datetime,))
        try:
            await self._orders.insert_one({"_id": key, "order": document})
        except DuplicateKeyError:
            first = await self.get(key)
            return order if first is None else first
        return order
