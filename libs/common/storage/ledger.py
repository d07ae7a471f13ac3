"""Entries, spend and rollups: written together in one transaction, by the ledger worker alone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from libs.common.domain.corrections import late_event, one_of_each
from libs.common.schemas.entry import EntryStatus, LedgerEntry
from libs.common.storage.mongo import (
    ASCENDING,
    DESCENDING,
    BSONError,
    BulkWriteError,
    Database,
    Document,
    DuplicateKeyError,
    InsertOne,
    PyMongoError,
    Session,
    UpdateOne,
    from_document,
    in_transaction,
    refusal,
    to_document,
)
from libs.common.storage.rollups import rollup_updates

_DUPLICATE_KEY = 11000
_SPARSE = ("corrects", "response_id")


class EntryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`since` is inclusive, `until` exclusive; `before` is the entry_id of the last one seen."""

    user_id: str
    since: datetime | None = None
    until: datetime | None = None
    model: str | None = None
    key_id: str | None = None
    before: str | None = None


class PeriodSpend(msgspec.Struct, frozen=True):
    """Nano-USD spent in a period; of two such figures the one of the higher revision is newer."""

    nusd: int = 0
    revision: int = 0


class _Posted(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    status: EntryStatus
    periods: tuple[str, ...]


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
    """The collections `entries`, `spend` (per account and period) and `rollups` (per day).

    `unpriced` lists the entries that wait for a price; accounts count their entries.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._accounts = database["accounts"]
        self._entries = database["entries"]
        self._spend = database["spend"]
        self._rollups = database["rollups"]
        self._unpriced = database["unpriced"]

    async def create_indexes(self) -> None:
        # UUIDv7 ids sort by time, so these serve "newest first" and its cursor.
        await self._entries.create_index([("user_id", ASCENDING), ("_id", DESCENDING)])
        await self._entries.create_index(
            [("user_id", ASCENDING), ("model", ASCENDING), ("_id", DESCENDING)]
        )
        # Not unique: where somebody tampers with an account's count, `verify` tells, and calls go
        # on being posted.
        await self._entries.create_index([("user_id", ASCENDING), ("seq", ASCENDING)])
        for name in _SPARSE:
            await self._entries.create_index([(name, ASCENDING)], sparse=True)
        await self._unpriced.create_index(
            [("provider", ASCENDING), ("model", ASCENDING), ("_id", ASCENDING)]
        )
        await self._spend.create_index([("period", ASCENDING), ("user_id", ASCENDING)])
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
            new = await self._missing(one_of_each(entries), session)
            if new:
                await self._add(new, session)
            return len(new)

        try:
            return await in_transaction(self._database, work, kept)
        except BulkWriteError as error:
            if any(row["code"] == _DUPLICATE_KEY for row in error.details["writeErrors"]):
                raise DuplicateKeyError(str(error)) from error
            raise

    async def _missing(
        self, entries: dict[str, LedgerEntry], session: Session
    ) -> list[LedgerEntry]:
        """Those that are not in the ledger, with corrections for calls that were given up."""
        posted = await self._posted(entries, session)
        new = [entry for id_, entry in entries.items() if id_ not in posted]
        late = {
            correction.entry_id: correction
            for id_, original in posted.items()
            if (correction := late_event(entries[id_], original)) is not None
        }
        if late:
            known = await self._posted(late, session)
            new += [entry for id_, entry in late.items() if id_ not in known]
        return new

    async def _posted(self, ids: Iterable[str], session: Session) -> dict[str, _Posted]:
        wanted = list(ids)
        fields = {"user_id": 1, "status": 1, "periods": 1}
        found = self._entries.find({"_id": {"$in": wanted}}, fields, session=session)
        documents = await found.to_list(len(wanted))
        return {document["_id"]: from_document(document, _Posted) for document in documents}

    async def _add(self, entries: Sequence[LedgerEntry], session: Session) -> None:
        spent: Counter[str] = Counter()
        number: Counter[str] = Counter()
        by_period: Counter[tuple[str, str]] = Counter()
        for entry in entries:
            spent[entry.user_id] += entry.cost_nusd
            number[entry.user_id] += 1
            for period in entry.periods:
                by_period[entry.user_id, period] += entry.cost_nusd
        counts = await self._entry_counts(list(spent), session)
        await self._entries.insert_many(_numbered(entries, counts), session=session)
        # Whoever counts on at the same time conflicts here, and tries again.
        await self._accounts.bulk_write(
            [
                UpdateOne(
                    {"_id": user_id}, {"$inc": {"spent_nusd": nusd, "entries": number[user_id]}}
                )
                for user_id, nusd in sorted(spent.items())
            ],
            session=session,
        )
        await self._spend.bulk_write(
            [
                UpdateOne(
                    {"_id": f"{user_id}|{period}"},
                    {
                        "$inc": {"spent_nusd": nusd, "revision": 1},
                        "$setOnInsert": {"user_id": user_id, "period": period},
                    },
                    upsert=True,
                )
                for (user_id, period), nusd in sorted(by_period.items())
            ],
            session=session,
        )
        await self._rollups.bulk_write(rollup_updates(entries), session=session)
        await self._note_unpriced(entries, session)

    async def _entry_counts(self, user_ids: list[str], session: Session) -> dict[str, int]:
        """How many entries each account has. Raises UnknownAccounts."""
        found = self._accounts.find({"_id": {"$in": user_ids}}, {"entries": 1}, session=session)
        documents = await found.to_list(len(user_ids))
        counts = {document["_id"]: int(document.get("entries", 0)) for document in documents}
        unknown = frozenset(user_ids) - counts.keys()
        if unknown:
            raise UnknownAccounts(unknown)
        return counts

    async def _note_unpriced(self, entries: Sequence[LedgerEntry], session: Session) -> None:
        opened = [
            InsertOne({"_id": e.entry_id, "provider": e.provider, "model": e.model})
            for e in entries
            if e.status == "unpriced" and e.provider is not None and e.model is not None
        ]
        settled = [entry.corrects for entry in entries if entry.kind == "reprice"]
        if opened:
            await self._unpriced.bulk_write(opened, session=session)
        if settled:
            await self._unpriced.delete_many({"_id": {"$in": settled}}, session=session)

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

    async def spend_with_revisions(
        self, user_ids: Sequence[str], periods: Sequence[str]
    ) -> dict[tuple[str, str], PeriodSpend]:
        """As `spend_of_many`, with the revision of each figure."""
        ids = [f"{user_id}|{period}" for user_id in user_ids for period in periods]
        documents = await self._spend.find({"_id": {"$in": ids}}).to_list(len(ids))
        return {
            (d["user_id"], d["period"]): PeriodSpend(int(d["spent_nusd"]), d.get("revision", 0))
            for d in documents
        }

    async def spend_of_key(self, user_id: str, key_id: str, days: tuple[str, str] | None) -> int:
        """Nano-USD that one key spent from the first through the last day; None: ever."""
        return (await self.key_spend_with_revision(user_id, key_id, days)).nusd

    async def key_spend_with_revision(
        self, user_id: str, key_id: str, days: tuple[str, str] | None
    ) -> PeriodSpend:
        """As `spend_of_key`; its revision is the sum of those of the rollups, which only grow."""
        match: dict[str, Any] = {"user_id": user_id, "key_id": key_id}
        if days is not None:
            match["day"] = {"$gte": days[0], "$lte": days[1]}
        sums = {"nusd": {"$sum": "$cost_nusd"}, "revision": {"$sum": "$revision"}}
        pipeline: list[Document] = [{"$match": match}, {"$group": {"_id": None, **sums}}]
        rows = await self._rollups.aggregate(pipeline).to_list(1)
        return (
            PeriodSpend(int(rows[0]["nusd"]), int(rows[0]["revision"])) if rows else PeriodSpend()
        )

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


def _numbered(entries: Sequence[LedgerEntry], counts: dict[str, int]) -> list[Document]:
    """Their documents, with the numbers that follow each account's count."""
    next_seq = Counter(counts)
    documents = []
    for entry in entries:
        next_seq[entry.user_id] += 1
        document = to_document(entry, key="entry_id") | {"seq": next_seq[entry.user_id]}
        for name in _SPARSE:
            if document[name] is None:
                # Absent, so that the sparse index holds those alone that have one.
                del document[name]
        documents.append(document)
    return documents
