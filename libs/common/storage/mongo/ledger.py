"""Writes entries, spend and segments of sums in one transaction. Only the ledger worker does so."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Literal

import msgspec

from libs.common.domain.corrections import late_event, one_of_each
from libs.common.domain.entries import unpriced_models
from libs.common.schemas.entry import EntryStatus, LedgerEntry
from libs.common.storage.mongo.account_spend import FIELDS, NOT_READ, account_updates
from libs.common.storage.mongo.batched_reads import find_by_ids
from libs.common.storage.mongo.driver import (
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
)
from libs.common.storage.mongo.entry_filter import RARE
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.mongo.postings import SPARSE, numbered_documents
from libs.common.storage.mongo.rollup_rows import day_sums, wanted_values
from libs.common.storage.mongo.rollup_segments import RollupSegments
from libs.common.storage.mongo.rollup_values import RollupValues

_DUPLICATE_KEY = 11000
# Gets the new entries and their accounts, as `Posting` has them.
Watch = Callable[[Sequence[LedgerEntry], Mapping[str, Document], Session], Awaitable[None]]
# Of which entries of the batch the ledger is asked: none, those of the entries' own accounts, or of
# any account, which asks every shard.
_Lookup = Literal["nothing", "own", "any"]
_OF_ACCOUNTS = (*FIELDS, "budgets")
_SUM: Document = {"$group": {"_id": None, "nusd": {"$sum": "$cost_nusd"}}}

INDEXES = (
    # Usage, of all accounts and of one
    index("entries", "started_at", "_id"),
    index("entries", "user_id", "started_at", "_id"),
    # Not unique: if somebody tampers with an account's count, `verify` reports it while calls are
    # still posted.
    index("entries", "user_id", "seq"),
    *(index("entries", name, sparse=True) for name in SPARSE),
    *(
        index(
            "entries",
            name,
            "started_at",
            "_id",
            above=bound if side == "above" else None,
            below=bound if side == "below" else None,
        )
        for name, side, bound in RARE
    ),
    index("unpriced", "provider", "model", "_id"),
    index("rollups", "user_id", "-day"),
    index("rollups", "user_id", "key_id", "day"),
    index("rollups", "day"),
)


class _Posted(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    status: EntryStatus
    periods: tuple[str, ...]


class Posting(msgspec.Struct, frozen=True):
    """The entries that a transaction added, and their accounts by user_id after that.

    Accounts have `budgets`, and the FIELDS of their spend as they were before `tidy`, which changes
    no sum.
    """

    entries: Sequence[LedgerEntry] = ()
    accounts: Mapping[str, Document] = NOT_READ


class UnknownAccounts(Exception):
    """These accounts do not exist, so the whole posting was rolled back."""

    def __init__(self, user_ids: frozenset[str]) -> None:
        super().__init__(f"unknown accounts: {', '.join(sorted(user_ids))}")
        self.user_ids = user_ids


class EntriesRefused(Exception):
    """The whole posting was rolled back, and a retry with the same entries cannot succeed.

    At least one entry is `at_fault`, unless MongoDB's reason concerns no entry.
    """

    def __init__(self, reason: str, *, at_fault: bool) -> None:
        super().__init__(reason)
        self.at_fault = at_fault


class LedgerStore(LedgerReader):
    """Writes the reader's collections and the accounts' counts of entries.

    `unpriced` lists the entries that wait for a price. `rollup_tags` are the names of tags whose
    values have sums. `watch` writes in the same transaction.
    """

    def __init__(
        self,
        database: Database,
        *,
        rollup_tags: Collection[str] = (),
        watch: Watch | None = None,
    ) -> None:
        super().__init__(database)
        self._rollup_tags = rollup_tags
        self._rollup_values = RollupValues(database)
        self._segments = RollupSegments(database)
        self._watch = watch
        self._accounts = database["accounts"]
        self._unpriced = database["unpriced"]

    async def post(self, entries: Sequence[LedgerEntry], session: Session | None = None) -> int:
        """Adds the entries that the ledger lacks. Returns how many; raises what `add` raises."""
        return len((await self.add(entries, session)).entries)

    async def add(self, entries: Sequence[LedgerEntry], session: Session | None = None) -> Posting:
        """Adds the entries that the ledger lacks, and their cost.

        Raises UnknownAccounts, EntriesRefused, or a PyMongoError if a retry may succeed.
        """
        try:
            return await self._post(one_of_each(entries), session)
        except (PyMongoError, BSONError, OverflowError) as error:
            reason = refusal(error)
            if reason is None:
                raise
            raise EntriesRefused(
                f"{type(error).__name__}: {error}", at_fault=reason == "document"
            ) from error

    async def _post(self, entries: dict[str, LedgerEntry], session: Session | None) -> Posting:
        """Nearly always all entries are new, so they are inserted without a read.

        Ids are unique, so an existing entry aborts the transaction; then the ledger is read. It is
        also read for a missing account, and for entries that MongoDB rejects: they may be posted
        already.
        """
        if not entries:
            return Posting()
        try:
            return await self._post_in_transaction(entries, session, "nothing")
        except (DuplicateKeyError, UnknownAccounts):
            pass
        except (PyMongoError, BSONError, OverflowError) as error:
            if refusal(error) != "document":
                raise
        try:
            return await self._post_in_transaction(entries, session, "own")
        except DuplicateKeyError:
            # Another worker has posted some of the entries meanwhile, or another account has the
            # id; this try skips them.
            return await self._post_in_transaction(entries, session, "any")

    async def _post_in_transaction(
        self, entries: dict[str, LedgerEntry], outer_session: Session | None, lookup: _Lookup
    ) -> Posting:
        async def work(session: Session) -> Posting:
            new = await self._missing_entries(entries, lookup, session)
            return await self._add(new, session) if new else Posting()

        try:
            return await in_transaction(self._database, work, outer_session)
        except BulkWriteError as error:
            if any(row["code"] == _DUPLICATE_KEY for row in error.details["writeErrors"]):
                raise DuplicateKeyError(str(error)) from error
            raise

    async def _missing_entries(
        self, entries: dict[str, LedgerEntry], lookup: _Lookup, session: Session
    ) -> list[LedgerEntry]:
        """The entries that the ledger lacks, with corrections for abandoned calls."""
        if lookup == "nothing":
            return list(entries.values())
        posted = await self._find_posted(entries, lookup, session)
        new = [entry for id_, entry in entries.items() if id_ not in posted]
        late = {
            correction.entry_id: correction
            for id_, original in posted.items()
            if (correction := late_event(entries[id_], original)) is not None
        }
        if late:
            known = await self._find_posted(late, lookup, session)
            new += [entry for id_, entry in late.items() if id_ not in known]
        return new

    async def _find_posted(
        self, entries: Mapping[str, LedgerEntry], lookup: _Lookup, session: Session
    ) -> dict[str, _Posted]:
        """Of those, by entry_id, what the ledger has."""
        owners = {id_: entry.user_id for id_, entry in entries.items()}
        documents = await find_by_ids(
            self._entries,
            list(entries),
            ("user_id", "status", "periods"),
            session,
            owners if lookup == "own" else None,
        )
        return {document["_id"]: from_document(document, _Posted) for document in documents}

    async def _add(self, entries: Sequence[LedgerEntry], session: Session) -> Posting:
        accounts = await self._count(entries, session)
        number = Counter(entry.user_id for entry in entries)
        counts = {id_: int(account["entries"]) - number[id_] for id_, account in accounts.items()}
        await self._entries.insert_many(numbered_documents(entries, counts), session=session)
        await self._refuse_excess(entries, session)
        posted_at = max(entry.posted_at for entry in entries)
        await self._of_accounts.tidy(accounts.values(), posted_at, session)
        await self._sum_up(entries, session)
        await self._note_unpriced(entries, session)
        if self._watch is not None:
            await self._watch(entries, accounts, session)
        return Posting(entries, accounts)

    async def _sum_up(self, entries: Sequence[LedgerEntry], session: Session) -> None:
        values = wanted_values(entries, self._rollup_tags)
        is_own = await self._rollup_values.admit(values, session)
        await self._segments.add(day_sums(entries, self._rollup_tags, is_own), session)

    async def _count(self, entries: Sequence[LedgerEntry], session: Session) -> dict[str, Document]:
        """Adds to the accounts. Returns them after that, by user_id. Raises UnknownAccounts.

        This is the first write, because postings to one account conflict here: the one that must
        retry has then done next to nothing.
        """
        updates = account_updates(entries)
        after = await self._update_accounts(updates, session)
        unknown = frozenset(updates) - after.keys()
        if unknown:
            raise UnknownAccounts(unknown)
        return after

    async def _update_accounts(
        self, updates: dict[str, Document], session: Session
    ) -> dict[str, Document]:
        """The accounts' new documents by user_id. Leaves out unknown accounts."""
        await self._accounts.bulk_write(
            [UpdateOne({"_id": user_id}, update) for user_id, update in updates.items()],
            session=session,
        )
        documents = await find_by_ids(self._accounts, list(updates), _OF_ACCOUNTS, session)
        return {document["_id"]: document for document in documents}

    async def _refuse_excess(self, entries: Sequence[LedgerEntry], session: Session) -> None:
        """Raises EntriesRefused if all refunds of a call, with these, exceed its cost.

        A call and its corrections have one account, and `_count` serialises the postings to one
        account, so a refund that is ordered meanwhile is seen here.
        """
        refunded = {(e.corrects, e.user_id) for e in entries if e.kind == "refund" and e.corrects}
        for entry_id, user_id in refunded:
            of_call = [{"$match": {"_id": entry_id, "user_id": user_id}}, _SUM]
            corrections = [{"$match": {"corrects": entry_id, "user_id": user_id}}, _SUM]
            rows = [
                *await self._entries.aggregate(of_call, session=session).to_list(1),
                *await self._entries.aggregate(corrections, session=session).to_list(1),
            ]
            if sum(int(row["nusd"]) for row in rows) < 0:
                reason = f"the refund is more than what call '{entry_id}' still costs"
                raise EntriesRefused(reason, at_fault=True)

    async def _note_unpriced(self, entries: Sequence[LedgerEntry], session: Session) -> None:
        inserts: list[InsertOne[Document]] = []
        for entry in entries:
            if entry.status == "unpriced":
                # An entry leaves `unpriced` once all of its models have a price.
                provider, model = unpriced_models(entry)[0]
                if provider is not None and model is not None:
                    row = {"_id": entry.entry_id, "provider": provider, "model": model}
                    inserts.append(InsertOne(row))
        repriced_ids = [entry.corrects for entry in entries if entry.kind == "reprice"]
        if inserts:
            await self._unpriced.bulk_write(inserts, session=session)
        if repriced_ids:
            await self._unpriced.delete_many({"_id": {"$in": repriced_ids}}, session=session)
