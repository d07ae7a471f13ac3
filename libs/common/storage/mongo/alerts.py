"""The collection `alerts`: the outbox of messages to receivers, and what became of them.

A message is written once, with the fact that it tells where that is a posting, and sent at least
once. A worker claims it for as long as sending may take; if that worker dies, another one sends it.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec

from libs.common.schemas.alert import AlertKind, Delivery, DeliveryState
from libs.common.storage.mongo.driver import (
    ASCENDING,
    BulkWriteError,
    Database,
    Document,
    ReturnDocument,
    Session,
    from_document,
    to_document,
)
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.slices import Rows, Slice, read_slice

_DUPLICATE_KEY = 11000

INDEXES = (
    index("alerts", "state", "receiver_id", "due_at"),
    index("alerts", "created_at", "_id"),
    index("alerts", "expires_at", expires=True),
)


class AlertFilter(msgspec.Struct, frozen=True, kw_only=True):
    """None leaves a field out. `since` is inclusive, `until` exclusive."""

    kind: AlertKind | None = None
    receiver_id: str | None = None
    state: DeliveryState | None = None
    user_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def in_time(self) -> Document:
        """As a query."""
        bounds = {"$gte": self.since, "$lt": self.until}
        times = {name: at for name, at in bounds.items() if at is not None}
        return {"created_at": times} if times else {}

    def matches(self, delivery: Delivery) -> bool:
        """Apart from the time."""
        return (
            self.kind in (None, delivery.kind)
            and self.receiver_id in (None, delivery.receiver_id)
            and self.state in (None, delivery.state)
            and self.user_id in (None, delivery.user_id)
        )


class AlertStore:
    """Messages by id, one for each fact and receiver."""

    def __init__(self, database: Database) -> None:
        self._alerts = database["alerts"]

    async def existing_ids(self, ids: Collection[str], session: Session | None = None) -> set[str]:
        """Those of the ids that exist."""
        cursor = self._alerts.find({"_id": {"$in": sorted(ids)}}, {"_id": 1}, session=session)
        return {document["_id"] for document in await cursor.to_list(len(ids))}

    async def add(self, deliveries: Sequence[Delivery], session: Session | None = None) -> None:
        """Of those that exist, nothing changes. In a transaction, all have to be new."""
        documents = [to_document(delivery, key="alert_id") for delivery in deliveries]
        try:
            await self._alerts.insert_many(documents, ordered=False, session=session)
        except BulkWriteError as error:
            codes = {row["code"] for row in error.details["writeErrors"]}
            if session is not None or codes != {_DUPLICATE_KEY}:
                raise

    async def due_receivers(self, now: datetime) -> set[str]:
        """The receivers for which messages are due."""
        query: Document = {"state": "pending", "due_at": {"$lte": now}}
        return set(await self._alerts.distinct("receiver_id", query))

    async def claim(self, receiver_id: str, now: datetime, *, lease_s: float) -> Delivery | None:
        """The message that has been due for longest, counted as tried; due again after the lease.

        Returns None if none is due.
        """
        document: Document | None = await self._alerts.find_one_and_update(
            {"state": "pending", "receiver_id": receiver_id, "due_at": {"$lte": now}},
            {
                "$set": {"due_at": now + timedelta(seconds=lease_s), "tried_at": now},
                "$inc": {"tries": 1},
            },
            sort=[("due_at", ASCENDING)],
            return_document=ReturnDocument.AFTER,
        )
        return None if document is None else from_document(document, Delivery)

    async def store_outcome(self, claimed: Delivery, after: Delivery) -> bool:
        """Stores the outcome of a claimed message.

        Returns False, and stores nothing, if another worker has claimed it or it was replayed.
        """
        fields = ("state", "due_at", "delivered_at", "http_status", "fault")
        query = {"_id": claimed.alert_id, "state": "pending", "due_at": claimed.due_at}
        changes = {name: getattr(after, name) for name in fields}
        result = await self._alerts.update_one(query, {"$set": changes})
        return result.matched_count == 1

    async def fail_others(self, receiver_ids: Collection[str], fault: str) -> int:
        """Fails what is pending for receivers that no longer exist. Returns how many."""
        orphaned: Document = {"state": "pending", "receiver_id": {"$nin": sorted(receiver_ids)}}
        result = await self._alerts.update_many(
            orphaned, {"$set": {"state": "failed", "fault": fault}}
        )
        return result.modified_count

    async def get(self, alert_id: str) -> Delivery | None:
        document = await self._alerts.find_one({"_id": alert_id})
        return None if document is None else from_document(document, Delivery)

    async def slice(self, filters: AlertFilter, part: Slice) -> Rows[Delivery]:
        """In the order of `created_at`."""
        return await read_slice(
            self._alerts, filters.in_time(), part, Delivery, keep=filters.matches
        )

    async def replay(self, alert_id: str, now: datetime) -> Delivery | None:
        """Makes the message pending and due, whatever became of it. None if it is unknown."""
        document: Document | None = await self._alerts.find_one_and_update(
            {"_id": alert_id},
            {"$set": {"state": "pending", "due_at": now, "tries": 0, "fault": None}},
            return_document=ReturnDocument.AFTER,
        )
        return None if document is None else from_document(document, Delivery)
