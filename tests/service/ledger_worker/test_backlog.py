"""More events than one transaction holds: shared out by account, each posted once."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest

from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.driver import Database, Session, open_session
from libs.common.storage.mongo.ledger import EntriesRefused, LedgerStore, Posting
from libs.common.storage.mongo.sharding import ONE_ZONE, Zones
from libs.common.storage.prices.price_book import PriceBook
from libs.common.storage.prices.price_map import PriceMap
from services.ledger_worker.poster import MAX_EVENTS_PER_TRANSACTION, Poster
from tests.service.ledger_worker.worker_stage import Stage, make_event

_EACH = 400


class NotingLedger(LedgerStore):
    """Notes whose entries share a transaction."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.posted: list[list[str]] = []
        # Those that MongoDB rejects, for a reason that may concern none of them.
        self.rejected: frozenset[str] = frozenset()

    async def add(self, entries: Sequence[LedgerEntry], session: Session | None = None) -> Posting:
        self.posted.append([entry.user_id for entry in entries])
        if any(entry.entry_id in self.rejected for entry in entries):
            raise EntriesRefused("an unknown reason", at_fault=False)
        return await super().add(entries, session)


@pytest.fixture
async def ledger(stage: Stage) -> NotingLedger:
    await stage.add_account("carol")
    return NotingLedger(stage.database)


@pytest.fixture
async def session(stage: Stage) -> AsyncIterator[Session]:
    async with open_session(stage.database) as opened:
        yield opened


def poster(
    stage: Stage, ledger: LedgerStore, session: Session, *, first: int, zones: Zones = ONE_ZONE
) -> Poster:
    return Poster(
        ledger=ledger,
        session=session,
        prices=PriceBook(stage.prices, PriceMap(b"{}")),
        settler=stage.settler,
        metrics=stage.metrics,
        now=lambda: datetime.now(UTC),
        any_of=lambda number: first % number,
        zones=zones,
    )


async def test_a_backlog_is_posted_account_by_account_across_jobs(
    stage: Stage, ledger: NotingLedger, session: Session
) -> None:
    users = ("carol", "alice", "bob")
    batches = [[make_event(user) for user in users] for _ in range(_EACH)]
    results = await poster(stage, ledger, session, first=1).write(batches)
    assert results == [{}] * len(batches)
    assert [len(users) for users in ledger.posted] == [500, 200, 500]
    assert [sorted(set(users)) for users in ledger.posted] == [
        ["bob", "carol"],
        ["carol"],
        ["alice", "bob"],
    ]
    for user in users:
        await stage.assert_exact(user, _EACH)


async def test_a_half_posted_backlog_is_completed(
    stage: Stage, ledger: NotingLedger, session: Session
) -> None:
    """As by a worker that died between two transactions; this one begins elsewhere."""
    events = [make_event(user) for _ in range(_EACH) for user in ("alice", "bob")]
    await poster(stage, ledger, session, first=0).write([events[: MAX_EVENTS_PER_TRANSACTION // 2]])
    await poster(stage, ledger, session, first=1).write([events])
    for user in ("alice", "bob"):
        await stage.assert_exact(user, _EACH)


async def test_jobs_that_fit_in_one_transaction_are_left_alone(
    stage: Stage, ledger: NotingLedger, session: Session
) -> None:
    users = ("bob", "alice", "carol")
    await poster(stage, ledger, session, first=1).write([[make_event(user) for user in users]])
    assert ledger.posted == [list(users)]


async def test_a_transaction_has_accounts_of_one_zone(
    stage: Stage, ledger: NotingLedger, session: Session
) -> None:
    events = [make_event(user) for user in ("carol", "alice", "bob", "alice")]
    one = poster(stage, ledger, session, first=0, zones=Zones(["bob"]))
    assert await one.write([events]) == [{}]
    assert ledger.posted == [["carol", "bob"], ["alice", "alice"]]


async def test_a_reason_that_may_concern_no_entry_costs_few_tries(
    stage: Stage, ledger: NotingLedger, session: Session
) -> None:
    events = [make_event() for _ in range(_EACH)]
    ledger.rejected = frozenset(event.call_id for event in events)
    (failures,) = await poster(stage, ledger, session, first=0).write([events])
    assert failures.keys() == ledger.rejected
    assert all(isinstance(failure, EntriesRefused) for failure in failures.values())
    assert len(ledger.posted) < 30


@pytest.mark.parametrize("at", [0, 1, 7, 200, _EACH - 1])
async def test_a_few_that_are_rejected_hold_up_no_others(
    stage: Stage, ledger: NotingLedger, session: Session, at: int
) -> None:
    events = [make_event() for _ in range(_EACH)]
    ledger.rejected = frozenset(event.call_id for event in events[at : at + 3])
    (failures,) = await poster(stage, ledger, session, first=0).write([events])
    assert failures.keys() == ledger.rejected
    await stage.assert_exact("alice", _EACH - len(ledger.rejected))
