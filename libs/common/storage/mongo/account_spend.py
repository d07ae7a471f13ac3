"""Spend of accounts by period: recent periods in the accounts' documents, others beside them.

An account's document has `spend`, nano-USD by period, so that a posting changes one document for
all periods of an account; `summed` is how many of the account's `entries` are in there. Periods
that ended long ago, and whatever a worker of an earlier release posts, are documents of the
collection `spend`, one per account and period. What was spent in a period is the sum of both.

Invariant: where `summed` is `entries`, `spend` is whole from the day `spend_since` on; a document
without `spend_since` is whole from the first day.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any

from libs.common.domain.periods import days_of, period_keys
from libs.common.schemas.account import Account
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.spend import PeriodSpend
from libs.common.storage.mongo.batched_reads import find_by_ids, one_of
from libs.common.storage.mongo.driver import (
    Database,
    Document,
    Session,
    UpdateOne,
    in_transaction,
)
from libs.common.storage.mongo.index import index

_SPEND = "spend"
# What `read` and `tidy` need of an account.
FIELDS = ("entries", "summed", _SPEND, "spend_since")
# Periods that ended earlier may leave an account's document, when it has more than so many.
KEPT_DAYS = 40
_MAX_PERIODS = 64
# Added to the revisions of accounts that have `spend`: a worker of an earlier release, which reads
# the collection alone and counts revisions from 1, does not replace a whole figure in Redis.
_WHOLE = 1 << 40
# Accounts that one transaction tidies; the others wait for the next.
_TIDIED_AT_ONCE = 20

# No account.
NOT_READ: Mapping[str, Document] = MappingProxyType({})

SpentByPeriod = dict[tuple[str, str], PeriodSpend]


def account_updates(entries: Iterable[LedgerEntry]) -> dict[str, Document]:
    """By user_id, in order: adds the cost, by period too, and the number of entries."""
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        row = sums[entry.user_id]
        row["entries"] += 1
        row["summed"] += 1
        row["spent_nusd"] += entry.cost_nusd
        for period in entry.periods:
            row[f"spend.{period}"] += entry.cost_nusd
    return {user_id: {"$inc": dict(row)} for user_id, row in sorted(sums.items())}


INDEXES = (index("spend", "user_id", "period"),)


class SpendingAccount(Account, frozen=True, kw_only=True):
    """An account with FIELDS, as its document has them, whoever wrote them."""

    entries: Any = None
    summed: Any = None
    spend: Any = None
    spend_since: Any = None

    @property
    def spend_document(self) -> Document:
        """As `AccountSpend` takes it."""
        fields = {name: getattr(self, name) for name in FIELDS}
        return {"_id": self.user_id} | {k: v for k, v in fields.items() if v is not None}


def spend_fields(periods: Iterable[str]) -> list[str]:
    """FIELDS, where no other periods than these are asked for."""
    spend_paths = [f"{_SPEND}.{period}" for period in periods]
    return [*(field for field in FIELDS if field != _SPEND), *spend_paths]


class AccountSpend:
    """Reads both places, and keeps the accounts' documents small. Decides no amount."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._accounts = database["accounts"]
        self._spend = database["spend"]

    async def read(
        self,
        user_ids: Sequence[str],
        periods: Sequence[str],
        session: Session | None = None,
        accounts: Mapping[str, Document] = NOT_READ,
    ) -> SpentByPeriod:
        """By (user_id, period). Leaves out pairs without a posting.

        `accounts`, documents by user_id with FIELDS, are not read again. The revision follows the
        account's number of entries, which grows with each posting.
        """
        unread = [user_id for user_id in user_ids if user_id not in accounts]
        documents = await find_by_ids(self._accounts, unread, spend_fields(periods), session)
        documents += [accounts[user_id] for user_id in user_ids if user_id in accounts]
        return await self.of_documents(documents, user_ids, periods, session)

    async def of_documents(
        self,
        documents: Iterable[Document],
        user_ids: Iterable[str],
        periods: Sequence[str],
        session: Session | None = None,
    ) -> SpentByPeriod:
        """As `read`, of accounts whose documents, with FIELDS, have been read."""
        spent: SpentByPeriod = {}
        remaining = set(user_ids)
        bounded = [days for period in periods if (days := days_of(period)) is not None]
        # Of the period that ended first.
        last_day = min((last for _, last in bounded), default=None)
        for account in documents:
            if _has_whole(account, last_day):
                remaining.discard(account["_id"])
                spent.update(_amounts(account, periods, {}))
        if remaining:
            spent |= await self._read_both(sorted(remaining), periods, session)
        return spent

    async def of_accounts(
        self, user_ids: Sequence[str], session: Session, accounts: Mapping[str, Document] = NOT_READ
    ) -> dict[str, dict[str, float]]:
        """All that is kept, by user_id and period; fractions, which only tampering leaves,
        included.

        `accounts`: their documents, with `spend`, those that there are.
        """
        amounts = {id_: Counter[str](accounts.get(id_, {}).get("spend", {})) for id_ in user_ids}
        async for document in self._spend.find({"user_id": one_of(user_ids)}, session=session):
            amounts[document["user_id"]][document["period"]] += document["spent_nusd"]
        return {user_id: dict(by_period) for user_id, by_period in amounts.items()}

    async def before(self, user_id: str, month: str) -> int:
        """Nano-USD of all months before that one."""

        async def work(session: Session) -> dict[str, float]:
            documents = await find_by_ids(self._accounts, [user_id], ["spend"], session)
            accounts = {account["_id"]: account for account in documents}
            return (await self.of_accounts([user_id], session, accounts))[user_id]

        amounts = await in_transaction(self._database, work)
        # Days and weeks have longer keys.
        months = [period for period in amounts if len(period) == len(month) and period < month]
        return sum(int(amounts[period]) for period in months)

    async def tidy(
        self, accounts: Iterable[Document], posted_at: datetime, session: Session
    ) -> None:
        """Moves recent periods into the accounts' documents and long past ones out of them.

        `accounts` have FIELDS, as the transaction of the session sees them.
        """
        due = [
            account
            for account in accounts
            if account.get("summed") != account["entries"] or len(account["spend"]) > _MAX_PERIODS
        ][:_TIDIED_AT_ONCE]
        if not due:
            return
        since = posted_at.date() - timedelta(days=KEPT_DAYS)
        moved_in = await self._recent_beside([account["_id"] for account in due], since, session)
        moves: list[UpdateOne] = []
        updates: list[UpdateOne] = []
        for account in due:
            user_id, added = account["_id"], moved_in[account["_id"]]
            moved_out = {
                period: nusd for period, nusd in account["spend"].items() if _is_past(period, since)
            }
            removals = {period: -nusd for period, nusd in added.items()}
            moves += [_add(user_id, period, n) for period, n in (removals | moved_out).items()]
            updates.append(UpdateOne({"_id": user_id}, _update(account, added, moved_out, since)))
        if moves:
            await self._spend.bulk_write(moves, session=session)
        await self._accounts.bulk_write(updates, session=session)

    async def _recent_beside(
        self, user_ids: Sequence[str], since: date, session: Session
    ) -> dict[str, dict[str, int]]:
        """Amounts by user_id and period, of the documents that are in `spend`."""
        # The least of the keys of all periods that end on the day or later.
        first = min(period_keys(datetime.combine(since, datetime.min.time(), UTC)))
        recent: dict[str, dict[str, int]] = {}
        for user_id in user_ids:
            cursor = self._spend.find(
                {"user_id": user_id, "period": {"$gte": first}}, session=session
            )
            recent[user_id] = {
                document["period"]: document["spent_nusd"]
                async for document in cursor
                if document["spent_nusd"] and not _is_past(document["period"], since)
            }
        return recent

    async def _read_both(
        self, user_ids: Sequence[str], periods: Sequence[str], session: Session | None
    ) -> SpentByPeriod:
        """In one snapshot: an amount that moves meanwhile counts once."""

        async def work(session: Session) -> SpentByPeriod:
            owners = {f"{user}|{period}": user for user in user_ids for period in periods}
            by_user: defaultdict[str, dict[str, Document]] = defaultdict(dict)
            documents = await find_by_ids(self._spend, [*owners], session=session, owners=owners)
            for document in documents:
                by_user[document["user_id"]][document["period"]] = document
            accounts = await find_by_ids(self._accounts, user_ids, FIELDS, session)
            # What is left of an account that was removed.
            removed_ids = by_user.keys() - {account["_id"] for account in accounts}
            spent: SpentByPeriod = {}
            for account in (*accounts, *({"_id": user_id} for user_id in removed_ids)):
                spent |= _amounts(account, periods, by_user[account["_id"]])
            return spent

        if session is not None:
            return await work(session)
        return await in_transaction(self._database, work)


def _amounts(
    account: Document, periods: Iterable[str], documents: Mapping[str, Document]
) -> SpentByPeriod:
    spend = account.get("spend", {})
    amounts: SpentByPeriod = {}
    for period in periods:
        if period in spend or period in documents:
            other = documents.get(period, {})
            nusd = int(spend.get(period, 0)) + int(other.get("spent_nusd", 0))
            amounts[account["_id"], period] = PeriodSpend(nusd, _revision(account, other))
    return amounts


def _revision(account: Document, other: Document) -> int:
    if "entries" not in account:
        return int(other.get("revision", 0))
    return int(account["entries"]) + (_WHOLE if "summed" in account else 0)


def _has_whole(account: Document, last_day: str | None) -> bool:
    """Whether it has the periods that end on that day or later; None: that never end."""
    if account.get("summed") != account.get("entries"):
        return False
    since: str | None = account.get("spend_since")
    return since is None or last_day is None or last_day >= since


def _is_past(period: str, day: date) -> bool:
    days = days_of(period)
    return days is not None and days[1] < day.isoformat()


def _add(user_id: str, period: str, nusd: int) -> UpdateOne:
    return UpdateOne(
        # Its shard key, too, from which an upsert takes these fields.
        {"_id": f"{user_id}|{period}", "user_id": user_id, "period": period},
        {"$inc": {"spent_nusd": nusd, "revision": 1}},
        upsert=True,
    )


def _update(
    account: Document, added: Mapping[str, int], moved_out: Iterable[str], since: date
) -> Document:
    update: Document = {
        "$set": {"summed": account["entries"]},
        "$max": {"spend_since": since.isoformat()},
    }
    if added:
        update["$inc"] = {f"spend.{period}": nusd for period, nusd in added.items()}
    removals = {f"spend.{period}": "" for period in moved_out}
    return update | ({"$unset": removals} if removals else {})
