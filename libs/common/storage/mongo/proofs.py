"""Reads for `verify`: an account's entries in stretches, its kept sums and its checkpoint.

Reads go by account and sequence number through an index, so the cost of a proof follows the entries
since the last proof, not the size of the ledger.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from libs.common.domain.verify import (
    Checkpoint,
    EntrySums,
    Kept,
    Seal,
    days_in,
)
from libs.common.storage.mongo.account_spend import AccountSpend
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
        given = {operator: id_ for operator, id_ in bounds.items() if id_ is not None}
        query = {"user_id": given} if given else {}
        found = self._entries.find(query, {"user_id": 1}).sort("user_id", ASCENDING).limit(1)
        documents = await found.to_list(1)
        return documents[0]["user_id"] if documents else None

    async def entries(self, user_id: str) -> int:
        """The account's own count of its entries."""
        document = await self._accounts.find_one({"_id": user_id}, {"entries": 1})
        return 0 if document is None else amount_of(document.get("entries", 0))

    async def unnumbered(self, user_id: str) -> int:
        """Counts entries without a sequence number, which no posting writes."""
        return await self._entries.count_documents({"user_id": user_id, "seq": None})

    async def sums(self, user_id: str, after: int, upto: int) -> EntrySums:
        """Sums of the entries from `after` (exclusive) to `upto` (inclusive), in one snapshot."""

        async def work(session: Session) -> EntrySums:
            return await self._sums(user_id, {"$gt": after, "$lte": upto}, session)

        return await in_transaction(self._database, work)

    async def tail(
        self, user_id: str, after: int, days: Collection[str] | None
    ) -> tuple[EntrySums, Kept]:
        """The sums of the entries after `after`, and the account's kept sums, in one snapshot.

        Rollups are those of `days` and of the days of these entries; None: of every day.
        """

        async def work(session: Session) -> tuple[EntrySums, Kept]:
            added = await self._sums(user_id, {"$gt": after}, session)
            account = await self._accounts.find_one({"_id": user_id}, POSTED, session=session)
            periods = await self._of_accounts.of_account(user_id, session, account or {})
            wanted = None if days is None else sorted({*days, *days_in(added.periods)})
            kept = Kept(
                entries=0 if account is None else amount_of(account.get("entries", 0)),
                nusd=None if account is None else amount_of(account.get("spent_nusd", 0)),
                periods={period: amount_of(nusd) for period, nusd in periods.items()},
                rollups=await self._rolled_up(user_id, wanted, session),
                document="" if account is None else fingerprint(account),
            )
            return added, kept

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
            of = row["_id"]
            for period in of if isinstance(of, list) else [of]:
                periods[str(period)] += amount_of(row["nusd"])
        return EntrySums(
            number=sum(int(row["number"]) for row in rows),
            seqs=sum(amount_of(row["seqs"]) for row in rows),
            nusd=sum(amount_of(row["nusd"]) for row in rows),
            periods=dict(periods),
        )

    async def _rolled_up(
        self, user_id: str, days: Sequence[str] | None, session: Session
    ) -> dict[str, int]:
        """By day, with what the rollups lack."""
        match: dict[str, Any] = {"user_id": user_id}
        if days is not None:
            match["day"] = {"$in": days}
        by_day = {"_id": "$day", "nusd": {"$sum": "$cost_nusd"}}
        pipeline: list[Document] = [{"$match": match}, {"$group": by_day}]
        rows = await self._rollups.aggregate(pipeline, session=session).to_list(_MAX_PERIODS)
        found = dict.fromkeys(days or (), 0) | {row["_id"]: amount_of(row["nusd"]) for row in rows}
        for each in await self._unrolled.of({user_id}, session):
            if days is None or each.day in found:
                found[each.day] = found.get(each.day, 0) + each.nusd
        return found

    async def checkpoint(self, user_id: str) -> Checkpoint:
        """The stored checkpoint, by default one before the first entry."""
        document = await self._checkpoints.find_one({"_id": user_id})
        if document is None:
            return Checkpoint(user_id=user_id)
        return from_document(document, Checkpoint)

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
