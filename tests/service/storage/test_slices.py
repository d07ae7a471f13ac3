"""Slices of a collection: every row once, in order, in both directions, in bounded reads."""

from datetime import timedelta
from typing import Any, cast

import pytest

from libs.common.schemas.account import Account
from libs.common.storage.mongo.accounts import INDEXES, AccountStore
from libs.common.storage.mongo.driver import Collection, Database, Document
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.slices import RowPlace, Slice, read_slice, sliced
from tests.service.storage.test_ledger_plans import RecordingCollection
from tests.unit.builders import NOW, account

# Several were made at the same moment.
ACCOUNTS = [account(f"u{n:02}", created_at=NOW + timedelta(hours=n // 4)) for n in range(23)]
FIELDS = ["_id", "created_at"]


@pytest.fixture
async def accounts(database: Database) -> Collection:
    store = AccountStore(database)
    await build_indexes(database, INDEXES)
    for each in ACCOUNTS[::-1]:
        await store.insert(each)
    return database["accounts"]


def in_order(field: str, *, descending: bool) -> list[str]:
    rows = sorted(
        ACCOUNTS,
        key=lambda row: row.user_id if field == "_id" else (row.created_at, row.user_id),
        reverse=descending,
    )
    return [row.user_id for row in rows]


@pytest.mark.parametrize("limit", [1, 3, 4, 22, 23, 24])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("field", FIELDS)
async def test_slices_have_every_row_once_and_in_order(
    accounts: Collection, field: str, descending: bool, limit: int
) -> None:
    found: list[str] = []
    part = Slice(limit=limit, field=field, descending=descending)
    while True:
        rows = await read_slice(accounts, {}, part, Account)
        assert len(rows.rows) == limit or rows.rest is None
        found += [row.user_id for row in rows.rows]
        if rows.rest is None:
            break
        part = Slice(limit=limit, field=field, descending=descending, start=rows.rest)
    assert found == in_order(field, descending=descending)


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("field", FIELDS)
async def test_a_slice_begins_beyond_its_start_or_with_it(
    accounts: Collection, field: str, descending: bool, inclusive: bool
) -> None:
    start = ACCOUNTS[9]
    place = RowPlace(start.user_id if field == "_id" else start.created_at, start.user_id)
    part = Slice(limit=5, field=field, descending=descending, start=place, inclusive=inclusive)
    expected = in_order(field, descending=descending)
    begin = expected.index(start.user_id) + (not inclusive)
    rows = await read_slice(accounts, {}, part, Account)
    assert [row.user_id for row in rows.rows] == expected[begin : begin + 5]

    def place_of(row: Account) -> RowPlace:
        return RowPlace(row.user_id if field == "_id" else row.created_at, row.user_id)

    assert sliced(ACCOUNTS, part, place_of) == rows


async def test_omitted_rows_are_read_within_bounds(
    accounts: Collection,
) -> None:
    recording = RecordingCollection(accounts)
    kept = ("u00", "u09", "u19")
    found: list[str] = []
    part, reads = Slice(limit=2), 0
    while True:
        rows = await read_slice(
            cast("Collection", recording),
            {},
            part,
            Account,
            keep=lambda row: row.user_id in kept,
            most=10,
        )
        found += [row.user_id for row in rows.rows]
        reads += 1
        if rows.rest is None:
            break
        part = Slice(limit=2, start=rows.rest)
    assert found == [*kept]
    assert reads == 3
    # Of 3 and 7 rows, twice; then of 3, and of those after them.
    assert len(recording.queries) == 6


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"_id": {"$gte": "u03", "$lt": "u06"}}, ["u03", "u04", "u05"]),
        ({"_id": {"$gt": "u03"}}, ["u05", "u06"]),
    ],
)
async def test_a_query_may_bound_the_ids_too(
    accounts: Collection, query: Document, ids: list[str]
) -> None:
    start = None if len(ids) == 3 else RowPlace("u04", "u04")
    rows = await read_slice(accounts, query, Slice(limit=len(ids), start=start), Account)
    assert [row.user_id for row in rows.rows] == ids
    back = Slice(limit=9, descending=True, start=RowPlace("u05", "u05"))
    rows = await read_slice(accounts, query, back, Account)
    assert [row.user_id for row in rows.rows] == [i for i in ("u04", "u03") if i in _ids_in(query)]


def _ids_in(query: dict[str, Any]) -> set[str]:
    bounds = query["_id"]
    return {
        row.user_id
        for row in ACCOUNTS
        if bounds.get("$gte", "") <= row.user_id
        and bounds.get("$gt", "") < row.user_id < bounds.get("$lt", "v")
    }
