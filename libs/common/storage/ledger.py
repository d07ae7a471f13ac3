"""Entries, spend and rollups: written together in one transaction, by the ledger worker alone."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from libs.common.domain.periods import DAILY
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo import (
    ASCENDING,
    DESCENDING,
    BSONError,
    BulkWriteError,
    Database,
    DuplicateKeyError,
    PyMongoError,
    Session,
    UpdateOne,
    from_document,
    in_transaction,
    refusal,
    to_document,
)

_DUPLICATE_KEY = 11000
_TOKEN_CLASSES = (
    "input_text",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "input_image",
    "output_text",
    "reasoning",
    "output_audio",
    "output_image",
)


class EntryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`since` is inclusive, `until` exclusive; `before` is the entry_id of the last one seen."""

    user_id: str
    since: datetime | None = None
    until: datetime | None = None
    model: str | None = None
    key_id: str | None = None
    before: str | None = None


class UnknownAccounts(Exception):
    """None of the entries was posted, because these accounts do not exist."""

    def __init__(self, user_ids: frozenset[str]) -> None:
        super().__init__(f"unknown accounts: {', '.join(sorted(user_ids))}")
        self.user_ids = user_ids


class EntriesRefused(Exception):
    """None of the entries was posted, and trying the same ones again will not change that.

    At least one is `at_fault`, unless MongoDB gave a reason that says nothing about them.
    """

    def __init__(self, reason: str, *, at_fault: bool) -> None:
        super().__init__(reason)
        self.at_fault = at_fault


class LedgerStore:
    """The collections `entries`, `spend` (per account and period) and `rollups` (per day)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._accounts = database["accounts"]
        self._entries = database["entries"]
        self._spend = database["spend"]
        self._rollups = database["rollups"]

    async def create_indexes(self) -> None:
        # UUIDv7 ids sort by time, so these serve "newest first" and its cursor.
        await self._entries.create_index([("user_id", ASCENDING), ("_id", DESCENDING)])
        await self._entries.create_index(
            [("user_id", ASCENDING), ("model", ASCENDING), ("_id", DESCENDING)]
        )
        await self._spend.create_index([("user_id", ASCENDING), ("period", ASCENDING)])
        await self._rollups.create_index([("user_id", ASCENDING), ("day", DESCENDING)])
        await self._rollups.create_index(
            [("user_id", ASCENDING), ("key_id", ASCENDING), ("day", ASCENDING)]
        )

    async def post(self, entries: Sequence[LedgerEntry], session: Session | None = None) -> int:
        """Adds the entries that are not there yet, and their cost; how many those were.

        Raises UnknownAccounts, EntriesRefused, or a PyMongoError where another try may help.
        """
        try:
            try:
                return await self._post_in_transaction(entries, session)
            except DuplicateKeyError:
                # Another worker posted some of them in the meantime: they are skipped now.
                return await self._post_in_transaction(entries, session)
        except (PyMongoError, BSONError, OverflowError) as error:
            reason = refusal(error)
            if reason is None:
                raise
            raise EntriesRefused(
                f"{type(error).__name__}: {error}", at_fault=reason == "document"
            ) from error

    async def _post_in_transaction(
        self, entries: Sequence[LedgerEntry], kept: Session | None
    ) -> int:
        async def work(session: Session) -> int:
            ids = [entry.entry_id for entry in entries]
            found = self._entries.find({"_id": {"$in": ids}}, {"_id": 1}, session=session)
            known = {document["_id"] for document in await found.to_list(len(ids))}
            # A batch may hold the same event twice; the first one counts.
            new: dict[str, LedgerEntry] = {}
            for entry in entries:
                if entry.entry_id not in known:
                    new.setdefault(entry.entry_id, entry)
            if new:
                await self._add(list(new.values()), session)
            return len(new)

        try:
            return await in_transaction(self._database, work, kept)
        except BulkWriteError as error:
            if any(row["code"] == _DUPLICATE_KEY for row in error.details["writeErrors"]):
                raise DuplicateKeyError(str(error)) from error
            raise

    async def _add(self, entries: Sequence[LedgerEntry], session: Session) -> None:
        spent: Counter[str] = Counter()
        by_period: Counter[tuple[str, str]] = Counter()
        for entry in entries:
            spent[entry.user_id] += entry.cost_nusd
            for period in entry.periods:
                by_period[entry.user_id, period] += entry.cost_nusd
        await self._entries.insert_many(
            [to_document(entry, key="entry_id") for entry in entries], session=session
        )
        charged = await self._accounts.bulk_write(
            [
                UpdateOne({"_id": user_id}, {"$inc": {"spent_nusd": nusd}})
                for user_id, nusd in sorted(spent.items())
            ],
            session=session,
        )
        if charged.matched_count != len(spent):
            found = self._accounts.find({"_id": {"$in": list(spent)}}, {"_id": 1}, session=session)
            known = {document["_id"] for document in await found.to_list(len(spent))}
            raise UnknownAccounts(frozenset(spent.keys() - known))
        await self._spend.bulk_write(
            [
                UpdateOne(
                    {"_id": f"{user_id}|{period}"},
                    {
                        "$inc": {"spent_nusd": nusd},
                        "$setOnInsert": {"user_id": user_id, "period": period},
                    },
                    upsert=True,
                )
                for (user_id, period), nusd in sorted(by_period.items())
            ],
            session=session,
        )
        await self._rollups.bulk_write(_rollup_updates(entries), session=session)

    async def spend_of(self, user_id: str, periods: Sequence[str]) -> dict[str, int]:
        """Nano-USD spent in each of the periods; 0 where nothing was."""
        ids = [f"{user_id}|{period}" for period in periods]
        documents = await self._spend.find({"_id": {"$in": ids}}).to_list(len(ids))
        spent = {document["period"]: int(document["spent_nusd"]) for document in documents}
        return {period: spent.get(period, 0) for period in periods}

    async def spend_of_many(
        self, user_ids: Sequence[str], periods: Sequence[str]
    ) -> dict[tuple[str, str], int]:
        """As `spend_of`, keyed by (user_id, period), for those that have any."""
        ids = [f"{user_id}|{period}" for user_id in user_ids for period in periods]
        documents = await self._spend.find({"_id": {"$in": ids}}).to_list(len(ids))
        return {(d["user_id"], d["period"]): int(d["spent_nusd"]) for d in documents}

    async def spend_of_key(self, user_id: str, key_id: str, days: tuple[str, str] | None) -> int:
        """Nano-USD that one key spent from the first through the last day; None: ever."""
        match: dict[str, Any] = {"user_id": user_id, "key_id": key_id}
        if days is not None:
            match["day"] = {"$gte": days[0], "$lte": days[1]}
        total = {"$group": {"_id": None, "nusd": {"$sum": "$cost_nusd"}}}
        rows = await self._rollups.aggregate([{"$match": match}, total]).to_list(1)
        return int(rows[0]["nusd"]) if rows else 0

    async def list(self, wanted: EntryFilter, *, limit: int) -> list[LedgerEntry]:
        """The newest first."""
        query: dict[str, Any] = {"user_id": wanted.user_id}
        if wanted.model is not None:
            query["model"] = wanted.model
        if wanted.key_id is not None:
            query["key_id"] = wanted.key_id
        if wanted.before is not None:
            query["_id"] = {"$lt": wanted.before}
        started = {"$gte": wanted.since, "$lt": wanted.until}
        bounds = {operator: at for operator, at in started.items() if at is not None}
        if bounds:
            query["started_at"] = bounds
        cursor = self._entries.find(query).sort("_id", DESCENDING).limit(limit)
        return [from_document(document, LedgerEntry) for document in await cursor.to_list(limit)]

    async def totals(self) -> dict[str, dict[str, int]]:
        """For `verify`: by account, the sums that the collections hold, as of one moment.

        Keys of the inner dict: `account`, `entries`, `period:<key>`, `entries:<period>`,
        `rollups`; amounts in nano-USD.
        """

        async def work(session: Session) -> dict[str, dict[str, int]]:
            found: defaultdict[str, dict[str, int]] = defaultdict(dict)
            async for account in self._accounts.find({}, {"spent_nusd": 1}, session=session):
                found[account["_id"]]["account"] = _whole(account.get("spent_nusd", 0))
            for collection, group, name in (
                (self._entries, None, "entries"),
                (self._rollups, None, "rollups"),
                (self._entries, "$periods", "entries:"),
                (self._spend, "$period", "period:"),
            ):
                amount = "$spent_nusd" if collection is self._spend else "$cost_nusd"
                async for row in collection.aggregate(
                    _sum_pipeline(group, amount), session=session
                ):
                    key = name + (row["_id"].get("period") or "")
                    found[row["_id"]["user_id"]][key] = _whole(row["nusd"])
            return dict(found)

        return await in_transaction(self._database, work)


def _whole(nusd: float) -> int:
    """The amount. A fraction, which only tampering leaves, must not be rounded out of sight.

    It becomes neither of the whole amounts beside it, so that it differs from every true one.
    """
    return int(nusd) if nusd == int(nusd) else math.ceil(nusd) + 1


def _sum_pipeline(group: str | None, amount: str) -> list[Mapping[str, Any]]:
    unwind = [{"$unwind": "$periods"}] if group == "$periods" else []
    key = {"user_id": "$user_id"} | ({} if group is None else {"period": group})
    return [*unwind, {"$group": {"_id": key, "nusd": {"$sum": amount}}}]


def _rollup_updates(entries: Sequence[LedgerEntry]) -> list[UpdateOne]:
    """One `$inc` per account, day, key and model; token counts that were not reported add 0."""
    rows: defaultdict[tuple[str, str, str, str], Counter[str]] = defaultdict(Counter)
    for entry in entries:
        day = entry.periods[DAILY]
        row = rows[entry.user_id, day, entry.key_id, entry.model or ""]
        row["calls"] += 1
        row["cost_nusd"] += entry.cost_nusd
        row[f"status.{entry.status}"] += 1
        for name in _TOKEN_CLASSES:
            tokens = None if entry.usage is None else getattr(entry.usage, name)
            if tokens is not None:
                row[f"tokens.{name}"] += tokens
    return [
        UpdateOne(
            {"_id": "|".join(key)},
            {
                "$inc": dict(row),
                "$setOnInsert": dict(zip(("user_id", "day", "key_id", "model"), key, strict=True)),
            },
            upsert=True,
        )
        for key, row in sorted(rows.items())
    ]
