"""Lists of accounts by status and by a part of the name: few rows, found without the others."""

from datetime import timedelta

import pytest

from libs.common.schemas.account import Account, AccountName, AccountStatus
from libs.common.storage.mongo.accounts import INDEXES, AccountStore
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.slices import MAX_READ, Slice
from tests.service.storage.test_ledger_plans import assert_indexed
from tests.support.sent_commands import collection_of, sent_commands
from tests.unit.builders import NOW, account

STATUSES: tuple[AccountStatus, ...] = ("active", "suspended", "archived")
# Several were made at the same moment.
ACCOUNTS = [
    account(
        f"u{n:02}",
        name=f"STRASSE {n}" if n % 5 else f"Straße {n}",
        status=STATUSES[n % 4 // 2 * (n % 2 + 1)],
        created_at=NOW - timedelta(hours=n // 5),
    )
    for n in range(23)
]


@pytest.fixture
async def accounts(database: Database) -> AccountStore:
    store = AccountStore(database)
    await build_indexes(database, INDEXES)
    for each in ACCOUNTS:
        await store.insert(each)
    # As releases before statuses left it.
    await database["accounts"].update_one({"_id": "u04"}, {"$unset": {"status": ""}})
    return store


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("field", ["_id", "created_at"])
@pytest.mark.parametrize("status", STATUSES)
async def test_a_list_of_one_status_has_each_account_once_and_in_order(
    accounts: AccountStore, database: Database, status: AccountStatus, field: str, descending: bool
) -> None:
    def wants(each: Account | AccountName) -> bool:
        return each.status == status

    expected = sorted(
        filter(wants, ACCOUNTS),
        key=lambda each: each.user_id if field == "_id" else (each.created_at, each.user_id),
        reverse=descending,
    )
    assert len(expected) > 4
    for method in (accounts.slice, accounts.search):
        part, found = Slice(limit=2, field=field, descending=descending), list[Account]()
        with sent_commands() as commands:
            while True:
                rows = await method(part, keep=wants, status=status)
                found += rows.rows
                if rows.rest is None:
                    break
                part = Slice(limit=2, field=field, descending=descending, start=rows.rest)
        assert [each.user_id for each in found] == [each.user_id for each in expected]
        if status != "active":
            queries = [each["filter"] for each in commands if collection_of(each) == "accounts"]
            # The rest of one order has two indexes to choose from.
            status_queries = [query for query in queries if "created_at" not in query]
            assert status_queries
            for query in status_queries:
                await assert_indexed(database["accounts"], query)


async def test_a_search_reads_the_names_of_all_and_the_few_that_it_finds(
    accounts: AccountStore,
) -> None:
    def finds(each: Account | AccountName) -> bool:
        return "strasse 2" in each.name.casefold()

    with sent_commands() as commands:
        rows = await accounts.search(Slice(limit=50), keep=finds, status=None)
    assert [each.user_id for each in rows.rows] == ["u02", "u20", "u21", "u22"]
    assert rows.rest is None
    names, found = (each for each in commands if "find" in each)
    assert (names["limit"], found["filter"]) == (
        MAX_READ,
        {"_id": {"$in": ["u02", "u20", "u21", "u22"]}},
    )
    assert {*names["projection"]} == {"_id", "user_id", "name", "status"}


async def test_an_account_renamed_during_a_search_is_not_found(
    accounts: AccountStore, database: Database
) -> None:
    """It is read again: its document tells."""
    types = list[str]()

    def finds(each: Account | AccountName) -> bool:
        types.append(type(each).__name__)
        return isinstance(each, AccountName) or each.user_id != "u01"

    rows = await accounts.search(Slice(limit=2), keep=finds, status=None)
    assert [each.user_id for each in rows.rows] == ["u00"]
    assert rows.rest is not None
    assert {*types} == {"AccountName", "SpendingAccount"}
