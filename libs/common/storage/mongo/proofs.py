"""Reads for `verify`: an account's entries in stretches, its sums and its checkpoint.

Reads go by account and sequence number through an index, so the cost of a proof follows the entries
since the last proof, not the size of the ledger.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from libs.common.domain.checkpoints import (
    AccountSums,
    Checkpoint,
    EntrySums,
    Seal,
    days_in,
)
from libs.common.storage.mongo.account_spend import AccountSpend
from libs.common.storage.mongo.batched_reads import find_by_ids, one_of
from libs.common.storage.mongo.driver import (
    ASCENDING,
    Database,
    Document,
    DuplicateKeyError,
    Session,
    UpdateOne,
    from_document,
    in_transaction,
)
from libs.common.storage.mongo.proof_pages import POSTED, amount_of, fingerprint
from libs.common.storage.mongo.unrolled_sums import UnrolledSums

# Periods of one account: the days, weeks and months of a century.
_MAX_PERIODS = 50_000
# Far above what is ever read at a time: more is a number of entries that differs in any case.
_MAX_ENTRIES = 100_000


class UnderWay(msgspec.Struct, frozen=True, kw_only=True):
    """A proof from the first entry on that a turn left, and when it began."""

    checkpoint: Checkpoint
    began_at: datetime


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an account: its entries after `after`. Its rollups are those of `days` and of the
    days of these entries; None: of every day.
    """

    user_id: str
    after: int
    days: Collection[str] | None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the workers' round over all accounts; `after` is the last user_id proved.

    `sound`: the present round has found no difference yet. `ok`: the result of the last complete
    round, or False once the present one has found a difference. `saves` tells a state from the one
    before it.
    """

    saves: int = 0
    after: str | None = None
    under_way: UnderWay | None = None
    sound: bool = True
    ok: bool | None = None
    last_success_at: datetime | None = None


class ProofStore:
    """Reads the ledger's collections; writes only `checkpoints` and `verification`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._accounts = database["accounts"]
        self._entries = database["entries"]
        self._of_accounts = AccountSpend(database)
        self._rollups = database["rollups"]
        self._unrolled = UnrolledSums(database)
        self._checkpoints = database["checkpoints"]
        self._verification = database["verification"]

    async def stray(self, after: str | None, before: str | None) -> str | None:
        """The first user_id between these that has entries.

        Between two accounts there are none as a rule, which an index tells without an entry.
        """
        bounds = {"$gt": after, "$lt": before}
        id_range = {operator: id_ for operator, id_ in bounds.items() if id_ is not None}
        query = {"user_id": id_range} if id_range else {}
        cursor = self._entries.find(query, {"user_id": 1}).sort("user_id", ASCENDING).limit(1)
        documents = await cursor.to_list(1)
        return documents[0]["user_id"] if documents else None

    async def entries(self, user_id: str) -> int:
        """The account's own count of its entries."""
        document = await self._accounts.find_one({"_id": user_id}, {"entries": 1})
        return 0 if document is None else amount_of(document.get("entries", 0))

    async def unnumbered(self, user_ids: Sequence[str]) -> dict[str, int]:
        """By user_id, the number of entries without a sequence number, which no posting writes."""
        number: Document = {"$group": {"_id": "$user_id", "number": {"$sum": 1}}}
        pipeline: list[Document] = [{"$match": {"user_id": one_of(user_ids), "seq": None}}, number]
        rows = await self._entries.aggregate(pipeline).to_list(len(user_ids))
        return {row["_id"]: int(row["number"]) for row in rows}

    async def sums(self, user_id: str, after: int, upto: int) -> EntrySums:
        """Sums of the entries from `after` (exclusive) to `upto` (inclusive), in one snapshot."""

        async def work(session: Session) -> EntrySums:
            return await self._sums(user_id, {"$gt": after, "$lte": upto}, session)

        return await in_transaction(self._database, work)

    async def tail(
        self, user_id: str, after: int, days: Collection[str] | None
    ) -> tuple[EntrySums, AccountSums]:
        """As `tails`, of one account."""
        tails = await self.tails([Tail(user_id=user_id, after=after, days=days)])
        return tails[user_id]

    async def tails(self, tails: Sequence[Tail]) -> dict[str, tuple[EntrySums, AccountSums]]:
        """By user_id, the sums of the entries after `after`, and the account's own sums, all in
        one snapshot.
        """
        user_ids = [tail.user_id for tail in tails]

        async def work(session: Session) -> dict[str, tuple[EntrySums, AccountSums]]:
            sums = {
                tail.user_id: await self._sums(tail.user_id, {"$gt": tail.after}, session)
                for tail in tails
            }
            documents = await find_by_ids(self._accounts, user_ids, POSTED, session)
            accounts = {account["_id"]: account for account in documents}
            periods = await self._of_accounts.of_accounts(user_ids, session, accounts)
            days = {tail.user_id: _days(tail, sums[tail.user_id]) for tail in tails}
            rollups = await self._rolled_up(days, session)
            return {
                user_id: (
                    sums[user_id],
                    _account_sums(accounts.get(user_id), periods[user_id], rollups[user_id]),
                )
                for user_id in user_ids
            }

        return await in_transaction(self._database, work)

    async def _sums(self, user_id: str, seq: Mapping[str, int], session: Session) -> EntrySums:
        """Reads each entry once: those of a day have the same periods."""
        pipeline: list[Document] = [
            {"$match": {"user_id": user_id, "seq": seq}},
            {"$limit": _MAX_ENTRIES},
            {
                "$group": {
                    "_id": "$periods",
                    "number": {"$sum": 1},
                    "seqs": {"$sum": "$seq"},
                    "nusd": {"$sum": "$cost_nusd"},
                }
            },
        ]
        rows = await self._entries.aggregate(pipeline, session=session).to_list(_MAX_PERIODS)
        periods: Counter[str] = Counter()
        for row in rows:
            keys = row["_id"]
            for period in keys if isinstance(keys, list) else [keys]:
                periods[str(period)] += amount_of(row["nusd"])
        return EntrySums(
            number=sum(int(row["number"]) for row in rows),
            seqs=sum(amount_of(row["seqs"]) for row in rows),
            nusd=sum(amount_of(row["nusd"]) for row in rows),
            periods=dict(periods),
        )

    async def _rolled_up(
        self, days: Mapping[str, Sequence[str] | None], session: Session
    ) -> dict[str, dict[str, int]]:
        """By user_id and day, with what the rollups lack; None: of all days that there are."""
        sums = {user_id: dict.fromkeys(own or (), 0) for user_id, own in days.items()}
        for user_id, day, nusd in [
            *await self._rollups_of(
                [id_ for id_, own in days.items() if own is None], None, session
            ),
            *await self._rollups_of([id_ for id_, own in days.items() if own], days, session),
            *[(row.user_id, row.day, row.nusd) for row in await self._unrolled.of(days, session)],
        ]:
            by_day = sums[user_id]
            if days[user_id] is None or day in by_day:
                by_day[day] = by_day.get(day, 0) + nusd
        return sums

    async def _rollups_of(
        self,
        user_ids: Sequence[str],
        days: Mapping[str, Sequence[str] | None] | None,
        session: Session,
    ) -> list[tuple[str, str, int]]:
        """User_id, day and amount, of all the days of these accounts; None: of every day."""
        if not user_ids:
            return []
        match: dict[str, Any] = {"user_id": one_of(user_ids)}
        if days is not None:
            match["day"] = {"$in": sorted({day for id_ in user_ids for day in days[id_] or ()})}
        by_day: Document = {
            "_id": {"user_id": "$user_id", "day": "$day"},
            "nusd": {"$sum": "$cost_nusd"},
        }
        pipeline: list[Document] = [{"$match": match}, {"$group": by_day}]
        cursor = self._rollups.aggregate(pipeline, session=session)
        rows = await cursor.to_list(_MAX_PERIODS * len(user_ids))
        return [(row["_id"]["user_id"], row["_id"]["day"], amount_of(row["nusd"])) for row in rows]

    async def checkpoint(self, user_id: str) -> Checkpoint:
        """The stored checkpoint, by default one before the first entry."""
        return (await self.checkpoints([user_id]))[user_id]

    async def checkpoints(self, user_ids: Sequence[str]) -> dict[str, Checkpoint]:
        """As `checkpoint`, by user_id."""
        stored = {
            document["_id"]: from_document(document, Checkpoint)
            for document in await find_by_ids(self._checkpoints, user_ids)
        }
        return {user_id: stored.get(user_id) or Checkpoint(user_id=user_id) for user_id in user_ids}

    async def accounts(self) -> int:
        """How many there are."""
        return await self._accounts.estimated_document_count()

    async def sealed(self) -> int:
        """How many accounts have a checkpoint."""
        return await self._checkpoints.estimated_document_count()

    async def save(self, seals: Iterable[Seal]) -> None:
        """Replaces later checkpoints too: the next proof then reads some entries again."""
        updates = []
        for seal in seals:
            document: Document = msgspec.to_builtins(seal, builtin_types=(datetime,))
            document |= document.pop("checkpoint")
            updates.append(
                UpdateOne({"_id": seal.checkpoint.user_id}, {"$set": document}, upsert=True)
            )
        if updates:
            await self._checkpoints.bulk_write(updates, ordered=False)

    async def progress(self) -> Progress:
        document = await self._verification.find_one({"_id": "progress"})
        return Progress() if document is None else from_document(document, Progress)

    async def save_progress(self, progress: Progress) -> Progress | None:
        """Returns it as it was saved; None if another worker has saved since it was read."""
        saves = progress.saves
        query: Document = {"_id": "progress", "saves": saves or {"$in": [0, None]}}
        progress = msgspec.structs.replace(progress, saves=saves + 1)
        document: Document = msgspec.to_builtins(progress, builtin_types=(datetime,))
        try:
            await self._verification.update_one(query, {"$set": document}, upsert=True)
        except DuplicateKeyError:
            return None
        return progress


def _days(tail: Tail, sums: EntrySums) -> list[str] | None:
    return None if tail.days is None else sorted({*tail.days, *days_in(sums.periods)})


def _account_sums(
    account: Document | None, periods: Mapping[str, float], rollups: Mapping[str, int]
) -> AccountSums:
    return AccountSums(
        entries=0 if account is None else amount_of(account.get("entries", 0)),
        nusd=None if account is None else amount_of(account.get("spent_nusd", 0)),
        periods={period: amount_of(nusd) for period, nusd in periods.items()},
        rollups=rollups,
        document="" if account is None else fingerprint(account),
    )
