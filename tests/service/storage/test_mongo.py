"""Transactions: all or nothing, and again where two of them conflict."""

import asyncio
from typing import Any

import pytest

from libs.common.storage.mongo.driver import Database, Session, in_transaction, open_database


def timeout_of(database: Database) -> Any:
    # The stubs take the property for a method.
    options: Any = database.client.options
    return options.timeout


async def test_opening_a_database_sets_the_operation_timeout() -> None:
    async with open_database("mongodb://localhost/x", operation_timeout_s=0.25) as database:
        assert timeout_of(database) == 0.25
    async with open_database("mongodb://localhost/x") as database:
        assert timeout_of(database) == 5


async def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    things = database["things"]
    await things.insert_one({"_id": 0})

    async def work(session: Session) -> None:
        await things.insert_one({"_id": 1}, session=session)
        raise LookupError

    with pytest.raises(LookupError):
        await in_transaction(database, work)
    assert [row["_id"] async for row in things.find()] == [0]


async def test_conflicting_transactions_are_retried(database: Database) -> None:
    counters = database["counters"]
    await counters.insert_one({"_id": 1, "n": 0})

    async def work(session: Session) -> None:
        row = await counters.find_one({"_id": 1}, session=session)
        assert row is not None
        await asyncio.sleep(0)
        await counters.update_one(
            {"_id": 1},
            {"$set": {"n": row["n"] + 1}},
            session=session,
        )

    await asyncio.gather(*(in_transaction(database, work) for _ in range(8)))
    assert await counters.find_one({}) == {"_id": 1, "n": 8}
