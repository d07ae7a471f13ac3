"""Sums of the collection `rollups`: cost, calls, statuses and tokens by day, account, key, model.

A rollup's day is that of its account's time zone. Its provider is missing where it was written
before rollups had one.
"""

import typing
from collections.abc import Sequence
from datetime import date
from typing import Any, Literal

import msgspec

from libs.common.schemas.entry import EntryStatus
from libs.common.schemas.usage import CallStatus, TokenCounts
from libs.common.storage.mongo.driver import Database, Document
from libs.common.storage.mongo.entry_filter import of_model

RollupField = Literal["day", "month", "account", "key", "model", "provider"]

_STATUSES = (*typing.get_args(CallStatus), "unpriced")
_VALUES: dict[RollupField, Any] = {
    "day": "$day",
    "month": {"$substrCP": ["$day", 0, 7]},
    "account": "$user_id",
    "key": "$key_id",
    "model": "$model",
    "provider": {"$ifNull": ["$provider", ""]},
}
_STORED: dict[RollupField, str] = {
    "day": "day",
    "account": "user_id",
    "key": "key_id",
    "model": "model",
    "provider": "provider",
}
_SUMS: Document = {
    "cost_nusd": {"$sum": "$cost_nusd"},
    "calls": {"$sum": "$calls"},
    "corrections": {"$sum": "$corrections"},
    **{f"status_{name}": {"$sum": f"$status.{name}"} for name in _STATUSES},
    **{f"tokens_{name}": {"$sum": f"$tokens.{name}"} for name in TokenCounts.__struct_fields__},
}


class RollupFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`since` is inclusive, `until` exclusive; `user_id` goes with every `key_id`.

    `model` is the name that was routed to, or provider/model. `among` leaves the groups with these
    values of a field.
    """

    since: date
    until: date
    user_id: str | None = None
    key_id: str | None = None
    model: str | None = None
    provider: str | None = None
    among: tuple[RollupField, tuple[str, ...]] | None = None

    def query(self) -> Document:
        query: Document = {
            name: value
            for name in ("user_id", "key_id", "provider")
            if (value := getattr(self, name)) is not None
        }
        query["day"] = {"$gte": self.since.isoformat(), "$lt": self.until.isoformat()}
        if self.model is not None:
            query |= of_model(self.model)
        if self.among is not None:
            field, values = self.among
            missing = [None] if "" in values else []
            query["$and"] = [{_STORED[field]: {"$in": [*values, *missing]}}]
        return query


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """`group` has a value for each field that was grouped by; an empty one stands for none."""

    group: tuple[str, ...]
    cost_nusd: int
    calls: int
    corrections: int
    statuses: dict[EntryStatus, int]
    tokens: dict[str, int]


class RollupReader:
    """Reads what `LedgerStore` adds up. Nothing here reads an entry."""

    def __init__(self, database: Database) -> None:
        self._rollups = database["rollups"]

    async def sums(
        self, wanted: RollupFilter, by: Sequence[RollupField], *, limit: int
    ) -> list[Sums]:
        """One row per group, the dearest first; without fields to group by, one row or none."""
        group: Document = {"_id": {name: _VALUES[name] for name in by} or None, **_SUMS}
        pipeline: list[Document] = [
            {"$match": wanted.query()},
            {"$group": group},
            {"$sort": {"cost_nusd": -1, "_id": 1}},
            {"$limit": limit},
        ]
        rows = await self._rollups.aggregate(pipeline, allowDiskUse=True).to_list(limit)
        return [_sums(row, by) for row in rows]

    async def has_model(self, model: str) -> bool:
        """Whether a call was ever routed to it."""
        return await self._rollups.find_one({"model": model}, {"_id": 1}) is not None


def _sums(row: Document, by: Sequence[RollupField]) -> Sums:
    return Sums(
        group=tuple(row["_id"][name] for name in by),
        cost_nusd=int(row["cost_nusd"]),
        calls=int(row["calls"]),
        corrections=int(row["corrections"]),
        statuses={name: int(n) for name in _STATUSES if (n := row[f"status_{name}"])},
        tokens={
            name: int(n) for name in TokenCounts.__struct_fields__ if (n := row[f"tokens_{name}"])
        },
    )
