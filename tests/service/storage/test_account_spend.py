"""Spend is the sum of what accounts' documents have and of what is beside them, whoever posts."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from libs.common.domain.periods import period_keys
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.indexes import WORKER_INDEXES
from libs.common.storage.mongo.account_spend import AccountSpend
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database, Document, Session
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.proofs import ProofStore
from tests.support.earlier_ledger import EarlierLedger
from tests.unit.builders import NOW, account, entry

USERS = ("acme", "globex", "initech")
# Days before the posting: some are long past, and both sides of where documents are divided.
AGES = (0, 0, 1, 6, 30, 39, 40, 41, 75, 400)


@pytest.fixture
async def ledger(database: Database) -> LedgerStore:
    store = LedgerStore(database)
    await build_indexes(database, WORKER_INDEXES)
    for user_id in USERS:
        await AccountStore(database).insert(account(user_id=user_id))
    return store


def call(name: object, *, at: datetime = NOW, posted_at: datetime = NOW, **of: Any) -> LedgerEntry:
    periods = period_keys(at)
    return entry(f"{name}", started_at=at, posted_at=posted_at, periods=periods, **of)


async def document(database: Database, user_id: str = "acme") -> dict[str, Any]:
    found = await database["accounts"].find_one({"_id": user_id})
    assert found is not None
    return found


async def beside(database: Database, user_id: str = "acme") -> dict[str, int]:
    """What the collection `spend` has, but for zeros."""
    documents = await database["spend"].find({"user_id": user_id}).to_list(None)
    return {d["period"]: d["spent_nusd"] for d in documents if d["spent_nusd"]}


async def assert_spent(
    database: Database, ledger: LedgerStore, posted: Sequence[LedgerEntry]
) -> None:
    """Every reader gives the sums of the entries: one period at a time, all of them, the proof."""
    expected: Counter[tuple[str, str]] = Counter()
    for row in posted:
        for period in row.periods:
            expected[row.user_id, period] += row.cost_nusd
    users = sorted({row.user_id for row in posted})
    periods = sorted({period for _, period in expected})
    assert await ledger.spend_of_many(users, periods) == dict(expected)
    for user_id, period in expected:
        found = await ledger.spend_of(user_id, [period])
        assert found == {period: expected[user_id, period]}
    for user_id in users:
        _, kept = await ProofStore(database).tail(user_id, 0, None)
        user_spend = {period: nusd for (user, period), nusd in expected.items() if user == user_id}
        # What was moved leaves a zero.
        assert {**kept.periods} == dict.fromkeys(kept.periods, 0) | user_spend
        assert kept.nusd == user_spend["total"]


async def test_a_posting_writes_no_document_but_the_accounts(
    ledger: LedgerStore, database: Database
) -> None:
    await ledger.post([call("a", cost_nusd=3), call("b", cost_nusd=4)])
    acme = await document(database)
    assert (acme["entries"], acme["summed"]) == (2, 2)
    assert acme["spend"] == dict.fromkeys(period_keys(NOW), 7)
    assert "spend_since" not in acme
    assert await database["spend"].count_documents({}) == 0


async def test_spend_of_an_earlier_release_moves_with_the_next_posting(
    ledger: LedgerStore, database: Database
) -> None:
    long_ago = NOW - timedelta(days=200)
    before = [call("a", cost_nusd=3), call("b", cost_nusd=5, at=long_ago)]
    await EarlierLedger(database).post(before)
    await assert_spent(database, ledger, before)
    then = call("c", cost_nusd=4)
    await ledger.post([then])
    assert (await document(database))["spend"] == dict.fromkeys(period_keys(NOW), 7) | {"total": 12}
    assert await beside(database) == dict.fromkeys(period_keys(long_ago)[1:], 5)
    await assert_spent(database, ledger, [*before, then])
    # A call that ended before the account's document begins.
    late = call("d", cost_nusd=1, at=long_ago)
    await ledger.post([late])
    await assert_spent(database, ledger, [*before, then, late])


@pytest.mark.parametrize("seed", range(4))
async def test_workers_of_both_releases_post_at_once(
    ledger: LedgerStore, database: Database, seed: int
) -> None:
    chance, earlier = random.Random(seed), EarlierLedger(database)
    posted: list[LedgerEntry] = []
    revisions: dict[tuple[str, str], int] = {}
    for step in range(25):
        now = NOW + timedelta(days=3 * step)
        batch = [
            call(
                f"{step}-{n}",
                user_id=chance.choice(USERS),
                at=now - timedelta(days=chance.choice(AGES)),
                posted_at=now,
                cost_nusd=chance.choice((-2, 0, 1, 10**15)),
            )
            for n in range(chance.randint(1, 4))
        ]
        today = period_keys(now)
        if chance.choice((True, False)):
            posting = await ledger.add(batch)
            users = sorted(posting.accounts)
            # A posting knows what it would read.
            known = await ledger.spend_with_revisions(users, today, accounts=posting.accounts)
            read = await ledger.spend_with_revisions(users, today)
            # What was moved leaves a zero, which is not always looked at.
            assert {**known, **read} == known
            assert not any(known[pair].nusd for pair in known.keys() - read.keys())
        else:
            await earlier.post(batch)
        posted += batch
        for pair, amount in (await ledger.spend_with_revisions(USERS, today)).items():
            assert amount.revision >= revisions.get(pair, 0)
            revisions[pair] = amount.revision
            # Where this release has posted, no figure of the earlier one is newer.
            stored = await database["spend"].find_one({"_id": "|".join(pair)})
            if "summed" in await document(database, pair[0]) and stored is not None:
                assert amount.revision > stored["revision"]
    await assert_spent(database, ledger, posted)


async def test_a_document_keeps_recent_periods_alone(
    ledger: LedgerStore, database: Database
) -> None:
    posted: list[LedgerEntry] = []
    at, acme = NOW, await document(database)
    for day in range(150):
        at = NOW + timedelta(days=day)
        row = call(day, at=at, posted_at=at, cost_nusd=day + 1)
        await ledger.post([row])
        posted.append(row)
        acme = await document(database)
        assert len(acme["spend"]) <= 64
    assert acme["spend_since"] > "2027"
    assert {*period_keys(at), (at - timedelta(days=39)).date().isoformat()} <= acme["spend"].keys()
    late = call("late", posted_at=at, cost_nusd=1000)
    await ledger.post([late])
    await assert_spent(database, ledger, [*posted, late])


async def test_a_transaction_moves_a_bounded_number_of_accounts(
    ledger: LedgerStore, database: Database
) -> None:
    users = [f"user-{n:02}" for n in range(50)]
    for user_id in users:
        await AccountStore(database).insert(account(user_id=user_id))
    posted = [call(user_id, user_id=user_id, cost_nusd=2) for user_id in users]
    await EarlierLedger(database).post(posted)
    for turn in range(3):
        batch = [call(f"{turn}-{user_id}", user_id=user_id, cost_nusd=3) for user_id in users]
        await ledger.post(batch)
        posted += batch
        left = await database["spend"].count_documents({"period": "total", "spent_nusd": 2})
        assert left == max(0, 30 - 20 * turn)
        found = await ledger.spend_of_many(users, ["total"])
        assert set(found.values()) == {2 + 3 * (turn + 1)}
    await assert_spent(database, ledger, posted)


async def test_a_reader_never_sees_an_amount_on_its_way(
    ledger: LedgerStore, database: Database
) -> None:
    """The figure only grows, whatever is moved while it is read."""
    earlier = EarlierLedger(database)
    done = asyncio.Event()
    figures: list[int] = []

    async def look() -> None:
        while not done.is_set():
            figures.append((await ledger.spend_of("acme", ["total"]))["total"])

    async with asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(look()) for _ in range(3)]
        for step in range(12):
            await earlier.post([call(f"old-{step}", cost_nusd=100)])
            await ledger.post([call(f"new-{step}", cost_nusd=1)])
        done.set()
    assert len(readers) == 3
    assert (await ledger.spend_of("acme", ["total"]))["total"] == 1212
    # Each figure is that of some moment between two postings.
    moments = {101 * step + part for step in range(13) for part in (0, 100)}
    assert set(figures) <= moments


class Interrupted:
    """A database in which something happens as soon as the documents beside accounts were read."""

    def __init__(self, database: Database, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self.client = database.client
        self._database = database
        self._meanwhile = meanwhile

    def __getitem__(self, name: str) -> Any:
        return self if name == "spend" else self._database[name]

    def find(self, *query: Any, session: Session | None) -> Any:
        self._found = self._database["spend"].find(*query, session=session)
        return self

    async def to_list(self, limit: int) -> list[Document]:
        rows = await self._found.to_list(limit)
        await self._meanwhile()
        return rows


async def test_an_amount_that_moves_while_it_is_read_counts_once(
    ledger: LedgerStore, database: Database
) -> None:
    await EarlierLedger(database).post([call("a", cost_nusd=100)])
    interrupted = Interrupted(database, lambda: ledger.post([call("b", cost_nusd=1)]))
    reader = AccountSpend(cast("Database", interrupted))
    spend = await reader.read(["acme"], ["total"])
    assert spend["acme", "total"].nusd == 100
    assert await ledger.spend_of("acme", ["total"]) == {"total": 101}


async def test_a_removed_accounts_earlier_spend_is_still_read(
    ledger: LedgerStore, database: Database
) -> None:
    await EarlierLedger(database).post([call("a", cost_nusd=3)])
    await database["accounts"].delete_one({"_id": "acme"})
    assert await ledger.spend_of("acme", ["total", "2026-11"]) == {"total": 3, "2026-11": 3}
