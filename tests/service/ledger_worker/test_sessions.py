"""A dead worker's open transaction blocks nobody for longer than its lease."""

import asyncio

import pytest

from libs.common.storage.mongo.driver import (
    Database,
    OperationFailure,
    Session,
    in_transaction,
    open_session,
    session_id,
)
from libs.common.storage.redis.session_leases import SessionLeases
from services.ledger_worker.sessions import kill_expired, leased_session
from services.ledger_worker.settings import Settings
from tests.service.ledger_worker.worker_stage import Stage, make_events, working
from tests.support.polling import eventually


async def leave_open(database: Database, session: Session) -> None:
    """Writes what every posting to alice writes, and then does nothing more."""
    session.start_transaction()
    await database["accounts"].update_one(
        {"_id": "alice"}, {"$inc": {"spent_nusd": 1}}, session=session
    )


async def test_a_dead_workers_transaction_is_ended(stage: Stage, settings: Settings) -> None:
    leases = SessionLeases(stage.redis)
    async with open_session(stage.database) as dead:
        await leave_open(stage.database, dead)
        assert await leases.renew(session_id(dead), lease_ms=-1) == [session_id(dead)]
        async with working(stage, settings):
            await stage.enqueue(make_events(3))
            await stage.drained()
        assert not await stage.redis.exists("gateway:posting-sessions")
        with pytest.raises(OperationFailure):
            await dead.commit_transaction()
    await stage.assert_exact("alice", 3)


async def test_a_living_workers_transaction_is_left_alone(stage: Stage) -> None:
    leases = SessionLeases(stage.redis)
    async with open_session(stage.database) as living:
        await leave_open(stage.database, living)
        expired = await leases.renew(session_id(living), lease_ms=60_000)
        await kill_expired(expired, leases, stage.database)
        await living.commit_transaction()
    account = await stage.accounts.get("alice")
    assert account is not None
    assert account.spent_nusd == 1


async def test_a_lease_is_acquired_and_released(stage: Stage) -> None:
    async with leased_session(stage.database, stage.redis):

        async def leased() -> bool:
            return bool(await stage.redis.exists("gateway:posting-sessions"))

        await eventually(leased)
    assert not await stage.redis.exists("gateway:posting-sessions")


async def test_a_kept_session_aborts_its_open_transaction(stage: Stage) -> None:
    """As after a network error that came between a transaction's start and its end."""
    async with open_session(stage.database) as session:
        await leave_open(stage.database, session)
        # The driver forgets the transaction without telling the server.
        session.delegate._transaction.reset()
        async with asyncio.timeout(20):
            await leave_open(stage.database, session)
            await session.commit_transaction()
    account = await stage.accounts.get("alice")
    assert account is not None
    assert account.spent_nusd == 1


async def test_a_transaction_is_retried_on_a_conflict(stage: Stage) -> None:
    async with open_session(stage.database) as first:
        await leave_open(stage.database, first)

        async def charge(session: Session) -> None:
            await stage.database["accounts"].update_one(
                {"_id": "alice"}, {"$inc": {"spent_nusd": 1}}, session=session
            )

        second = asyncio.create_task(in_transaction(stage.database, charge))
        done, _ = await asyncio.wait({second}, timeout=0.3)
        assert not done
        await first.commit_transaction()
        await second
    account = await stage.accounts.get("alice")
    assert account is not None
    assert account.spent_nusd == 2
