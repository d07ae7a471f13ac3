"""Indexes that are missing are built at a start where that is quick, and else by a command."""

import pytest

from libs.common.storage.indexes import INDEXES, WORKER_INDEXES
from libs.common.storage.mongo.driver import Database, DuplicateKeyError, MongoUnsuitable
from libs.common.storage.mongo.index import build_indexes, ensure_indexes, index, missing_indexes

HOW = "a command"
OF_CALLS = (
    index("calls", "day"),
    index("calls", "-day", "model"),
    index("calls", "id", sparse=True),
)


async def fill(database: Database, documents: int) -> None:
    await database["calls"].insert_many([{"_id": n} for n in range(documents)])


async def test_a_new_database_gets_all_at_once(database: Database) -> None:
    await ensure_indexes(database, INDEXES, how=HOW)
    assert await missing_indexes(database, INDEXES) == []
    names = [(each.collection, each.name) for each in INDEXES]
    assert len(set(names)) == len(names)
    assert set(WORKER_INDEXES) < set(INDEXES)


async def test_an_index_is_what_its_row_says(database: Database) -> None:
    rows = (
        index("people", "hash", unique=True),
        index("people", "ends_at", expires=True),
        index("people", "status", "at", above="ok"),
        index("people", "status", "at", below="ok"),
        *OF_CALLS,
    )
    await build_indexes(database, rows)
    people = await database["people"].index_information()
    assert people["hash_1"]["unique"] is True
    assert people["ends_at_1"]["expireAfterSeconds"] == 0
    above, below = people["status_at_above_ok"], people["status_at_below_ok"]
    assert above["partialFilterExpression"] == {"status": {"$gt": "ok"}}
    assert below["partialFilterExpression"] == {"status": {"$lt": "ok"}}
    assert await missing_indexes(database, rows) == []
    calls = await database["calls"].index_information()
    assert calls["day_-1_model_1"]["key"] == [("day", -1), ("model", 1)]
    assert calls["id_1"]["sparse"] is True
    await database["people"].insert_one({"hash": "h"})
    with pytest.raises(DuplicateKeyError):
        await database["people"].insert_one({"hash": "h"})


async def test_only_what_is_missing_is_built(database: Database) -> None:
    await build_indexes(database, OF_CALLS[:1])
    ((collection, missing),) = await missing_indexes(database, OF_CALLS)
    assert (collection, tuple(missing)) == ("calls", OF_CALLS[1:])
    await ensure_indexes(database, OF_CALLS, how=HOW)
    assert await missing_indexes(database, OF_CALLS) == []


async def test_a_large_collection_is_left_to_the_command(database: Database) -> None:
    await build_indexes(database, OF_CALLS[:1])
    await fill(database, 5_001)
    with pytest.raises(MongoUnsuitable) as caught:
        await ensure_indexes(database, (*OF_CALLS, index("other", "day")), how=HOW)
    assert str(caught.value) == (
        "indexes are missing in calls (5,001 documents): day_-1_model_1, id_1. Build them with "
        "`a command`, while the other services and those of the earlier release go on"
    )
    # What could be built has been.
    ((collection, _),) = await missing_indexes(database, (*OF_CALLS, index("other", "day")))
    assert collection == "calls"

    await build_indexes(database, OF_CALLS)
    await ensure_indexes(database, OF_CALLS, how=HOW)
