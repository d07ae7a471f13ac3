"""A ledger of many accounts, written straight into its collections by the stores' own formats.

Posting a million calls one batch after another would take an hour. What is written here is what
posting them would have left: entries, numbered by account, and all sums of them.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any, get_args

import msgspec

from libs.common.domain.corrections import correction_entry
from libs.common.domain.entries import accept, entry_of
from libs.common.domain.ids import uuid7
from libs.common.domain.periods import period_keys, zone_of
from libs.common.schemas.account import Account, Budget
from libs.common.schemas.correction import CorrectionOrder
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.key import ApiKey
from libs.common.schemas.price import PriceVersion, Rates
from libs.common.schemas.usage import CallStatus, ClientFormat, TokenUsage, UsageEvent
from libs.common.storage.mongo.account_spend import account_updates
from libs.common.storage.mongo.driver import (
    BulkWriteError,
    Collection,
    Database,
    Document,
    UpdateOne,
    in_transaction,
    to_document,
)
from libs.common.storage.mongo.postings import numbered_documents
from libs.common.storage.mongo.rollup_rows import day_sums
from libs.common.storage.mongo.rollup_segments import RollupSegments
from libs.common.storage.mongo.rollup_updates import rollup_updates, rollups_of
from libs.common.storage.mongo.sum_tables import Tally

_BATCH = 500
_DUPLICATE_KEY = 11000
_KEYS = 2
_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland")
_MODELS = (
    ("openai", "gpt-5.4", "2.5", "15"),
    ("openai", "gpt-5.4-mini", "0.75", "4.5"),
    ("openai", "gpt-4.1-mini", "0.4", "1.6"),
    ("anthropic", "claude-sonnet-4-5", "3", "15"),
    ("anthropic", "claude-haiku-4-5", "1", "5"),
    ("gemini", "gemini-2.5-pro", "1.25", "10"),
    ("gemini", "gemini-2.5-flash", "0.3", "2.5"),
    ("deepseek", "deepseek-chat", "0.27", "1.1"),
)
_STATUSES: tuple[tuple[CallStatus, int, int], ...] = (
    ("ok", 200, 92),
    ("client_closed", 200, 3),
    ("upstream_error", 502, 2),
    ("refused", 400, 2),
    ("abandoned", 503, 1),
)
_FORMATS: tuple[ClientFormat, ...] = get_args(ClientFormat)[:3]
# One call in so many is refunded in part, one in so many is followed by a credit.
_REFUNDED, _CREDITED = 200, 1_000


class LedgerSeed(msgspec.Struct, frozen=True, kw_only=True):
    """`calls` calls of `accounts` accounts in the `days` before `until`, evenly spread.

    Two seeds that are equal make the same ledger.
    """

    accounts: int
    calls: int
    days: int
    until: datetime

    @property
    def since(self) -> datetime:
        return self.until - timedelta(days=self.days)

    def entries(self) -> Iterator[LedgerEntry]:
        """In the order of their start, corrections right after their call."""
        chance = random.Random(self.calls)
        for n in range(self.calls):
            started_at = self.since + (self.until - self.since) * n / self.calls
            call = self._call(n, started_at, chance)
            yield call
            if n % _REFUNDED == 0 and call.cost_nusd > 1:
                yield self._correction(call, -(call.cost_nusd // 2), chance, of_call=True)
            if n % _CREDITED == 0:
                yield self._correction(call, -1_000_000, chance, of_call=False)

    def _call(self, n: int, started_at: datetime, chance: random.Random) -> LedgerEntry:
        # A few accounts make most calls, as everywhere.
        account = int(self.accounts * chance.random() ** 2)
        provider, model, *_ = chance.choice(_MODELS)
        status, http_status, _ = chance.choices(_STATUSES, [row[2] for row in _STATUSES])[0]
        tokens = chance.randrange(50, 20_000)
        billed = status in ("ok", "client_closed")
        event = UsageEvent(
            call_id=_id(started_at, chance),
            user_id=user_id_of(account),
            key_id=f"key-{account}-{chance.randrange(_KEYS)}",
            started_at=started_at,
            time_zone=zone_of_account(account),
            format=chance.choice(_FORMATS),
            requested_model=f"team/{model}" if n % 5 == 0 else model,
            provider=provider,
            model=model,
            deployment=f"{provider}-{n % 3}",
            attempts=1,
            stream=n % 2 == 0,
            status=status,
            http_status=http_status,
            error_code=None if billed else f"{status}_{n % 3}",
            usage=TokenUsage(input_text=tokens, cache_read=tokens // 3, output_text=tokens // 10)
            if billed
            else None,
            usage_source="provider" if billed else "none",
            latency_ms=chance.randrange(200, 20_000),
            first_byte_ms=chance.randrange(100, 2_000),
            provider_request_id=f"req_{n:x}" if billed else None,
            client_user=f"customer-{n % 97}" if n % 3 == 0 else None,
        )
        accepted = accept(event, self.until)
        assert isinstance(accepted, UsageEvent), accepted
        entry = entry_of(accepted, _PRICES, started_at + timedelta(seconds=20))
        assert isinstance(entry, LedgerEntry), entry
        return entry

    def _correction(
        self, call: LedgerEntry, cost_nusd: int, chance: random.Random, *, of_call: bool
    ) -> LedgerEntry:
        order = CorrectionOrder(
            entry_id=_id(call.started_at, chance),
            user_id=call.user_id,
            kind="refund" if of_call else "credit",
            cost_nusd=cost_nusd,
            corrects=call.entry_id if of_call else None,
            reason="The answer was cut off",
            made_by="bench",
            at=call.started_at,
        )
        entry = correction_entry(
            order,
            call if of_call else None,
            periods=period_keys(call.started_at, zone_of(call.time_zone)),
            time_zone=call.time_zone,
            posted_at=call.posted_at,
        )
        assert isinstance(entry, LedgerEntry), entry
        return entry


def user_id_of(account: int) -> str:
    return f"bench-{account:05d}"


def zone_of_account(account: int) -> str:
    return _ZONES[account % len(_ZONES)]


async def write(database: Database, seed: LedgerSeed) -> int:
    """Into empty collections. Returns the number of entries."""
    await _write_accounts(database, seed)
    entries = list(seed.entries())
    await write_entries(database, entries)
    await _write_sums(database, entries)
    return len(entries)


async def write_entries(database: Database, entries: Iterable[LedgerEntry]) -> None:
    """Alone, without their sums: for what reads nothing but them."""
    counts: Counter[str] = Counter()
    rest = iter(entries)
    while batch := list(islice(rest, _BATCH)):
        documents = numbered_documents(batch, counts)
        counts.update(entry.user_id for entry in batch)
        await _insert(database["entries"], documents)


async def _write_accounts(database: Database, seed: LedgerSeed) -> None:
    accounts, keys = [], []
    for n in range(seed.accounts):
        user_id = user_id_of(n)
        account = Account(
            user_id=user_id,
            name=f"Customer {n}",
            time_zone=zone_of_account(n),
            budgets=(Budget(limit_nusd=500_000_000_000, period="monthly"),) if n % 2 else (),
            created_at=seed.since,
            updated_at=seed.since,
        )
        accounts.append(to_document(account, key="user_id"))
        for key in range(_KEYS):
            key_id = f"key-{n}-{key}"
            api_key = ApiKey(
                key_id=key_id,
                user_id=user_id,
                name=f"key {key}",
                prefix="sk-gw-benchm",
                secret_hash=f"hash of {key_id}",
                created_at=seed.since,
                updated_at=seed.since,
            )
            keys.append(to_document(api_key, key="key_id"))
    await database["accounts"].insert_many(accounts)
    await database["keys"].insert_many(keys)


async def _write_sums(database: Database, entries: Sequence[LedgerEntry]) -> None:
    """As a worker leaves them that has rolled up all but the last batch."""
    accounts = [
        UpdateOne({"_id": user_id}, update) for user_id, update in account_updates(entries).items()
    ]
    for start in range(0, len(accounts), _BATCH):
        await database["accounts"].bulk_write(accounts[start : start + _BATCH], ordered=False)
    await _write_rollups(database, entries[:-_BATCH])
    segments = RollupSegments(database)
    await segments.fill()
    await in_transaction(database, partial(segments.add, _sums(entries[-_BATCH:])))
    if not await segments.check():
        raise RuntimeError("the segments lack entries")


async def _write_rollups(database: Database, entries: Sequence[LedgerEntry]) -> None:
    """All at once: they are inserted, which is several times faster."""
    for day, tally in _sums(entries).items():
        table = tally.table()
        documents = [_document(update) for update in rollup_updates(table, rollups_of(table, day))]
        for start in range(0, len(documents), _BATCH):
            await _insert(database["rollups"], documents[start : start + _BATCH])


def _sums(entries: Sequence[LedgerEntry]) -> dict[str, Tally]:
    return day_sums(entries, (), lambda *_: True)


async def _insert(collection: Collection, documents: list[Document]) -> None:
    try:
        await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        # The driver tries again where it did not hear of a batch that was written.
        if {row["code"] for row in error.details["writeErrors"]} != {_DUPLICATE_KEY}:
            raise RuntimeError(f"{collection.name} cannot be written") from None


def _document(update: UpdateOne) -> Document:
    """What the upsert makes of nothing."""
    # The driver shows neither.
    changes: Any = update._doc  # noqa: SLF001
    document: Document = dict(update._filter)  # noqa: SLF001
    for path, value in (changes["$inc"] | changes["$setOnInsert"]).items():
        *parents, name = path.split(".")
        parent = document
        for each in parents:
            parent = parent.setdefault(each, {})
        parent[name] = value
    return document


def _id(at: datetime, chance: random.Random) -> str:
    return uuid7(int(at.timestamp() * 1000), chance.randbytes(10))


_PRICES = {
    (provider, model): PriceVersion(
        price_id=f"{provider}:{model}",
        provider=provider,
        model=model,
        effective_from=datetime(2020, 1, 1, tzinfo=UTC),
        rates=Rates(input=Decimal(input_usd), output=Decimal(output_usd)),
        created_at=datetime(2020, 1, 1, tzinfo=UTC),
    )
    for provider, model, input_usd, output_usd in _MODELS
}
