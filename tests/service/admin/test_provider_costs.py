"""`/admin/ledger/provider-costs`."""

from decimal import Decimal
from typing import Any

import httpx2
import msgspec
import pytest

from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import TokenUsage
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger import LedgerStore
from tests.service.admin.problems import wrong_fields
from tests.service.admin.test_accounts import exact
from tests.service.admin.test_usage import entry

# 1,001 tokens at 0.15, 7 at 3, and a search at 0.01, times a mark-up of 2 that does not count here.
LINES = Decimal("0.01017115")


@pytest.fixture(autouse=True)
async def accounts(admin: httpx2.AsyncClient) -> None:
    for user_id in ("a", "b"):
        await admin.post("/admin/accounts", json={"user_id": user_id})


def make_call(n: int, usd: str | None, **fields: Any) -> LedgerEntry:
    """A call n minutes ago whose provider says that it cost so much."""
    base = entry(n, **fields)
    usage = TokenUsage(input_text=1, provider_cost_usd=None if usd is None else Decimal(usd))
    return msgspec.structs.replace(base, usage=usage, multiplier=Decimal(2))


async def get_report(admin: httpx2.AsyncClient, **params: Any) -> dict[str, Any]:
    answer = await admin.get("/admin/ledger/provider-costs", params=params)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = exact(answer)
    return report


async def test_calls_that_the_provider_prices_otherwise_are_listed(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    same, more, less, silent = (
        make_call(1, str(LINES)),
        make_call(2, "0.02", model="n"),
        make_call(3, "0.0101711499", user_id="b"),
        make_call(4, None),
    )
    await LedgerStore(database).post([same, more, less, silent])
    report = await get_report(admin)
    assert (report["until"], report["since"]) == ("2026-11-24T12:00:00Z", "2026-10-25T12:00:00Z")
    assert (report["entries_reported"], report["next_cursor"]) == (3, None)
    assert [row["entry_id"] for row in report["data"]] == [less.entry_id, more.entry_id]
    assert report["data"][1] == {
        "entry_id": more.entry_id,
        "user_id": "a",
        "started_at": "2026-11-24T11:58:00Z",
        "provider": "acme",
        "model": "n",
        "price_id": "price_1",
        "provider_cost_usd": Decimal("0.02"),
        "lines_usd": LINES,
        "difference_usd": LINES - Decimal("0.02"),
    }
    assert report["lines_usd"] == 3 * LINES
    assert report["provider_cost_usd"] == LINES + Decimal("0.0301711499")
    assert report["difference_usd"] == report["lines_usd"] - report["provider_cost_usd"]
    assert [(row["model"], row["entries"]) for row in report["models"]] == [("n", 1), ("m", 2)]
    assert report["models"][1]["difference_usd"] == Decimal("1e-10")

    assert [row["entry_id"] for row in (await get_report(admin, above_usd="1e-9"))["data"]] == [
        more.entry_id
    ]
    assert (await get_report(admin, user_id="b"))["entries_reported"] == 1
    assert (await get_report(admin, model="m"))["entries_reported"] == 2
    assert (await get_report(admin, provider="other"))["entries_reported"] == 0
    assert (await get_report(admin, until="2026-11-24T11:58:00Z"))["entries_reported"] == 1


async def test_a_call_that_was_priced_again_counts_at_its_last_price(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    call = make_call(1, "0.5")
    line = msgspec.structs.replace(call.lines[0], amount=Decimal("0.5"))
    correction = msgspec.structs.replace(
        call,
        entry_id=entry(0).entry_id,
        kind="reprice",
        corrects=call.entry_id,
        status="correction",
        lines=(line,),
    )
    await LedgerStore(database).post([call])
    assert len((await get_report(admin))["data"]) == 1
    await LedgerStore(database).post([correction])
    report = await get_report(admin)
    assert (report["data"], report["entries_reported"], report["lines_usd"]) == (
        [],
        1,
        Decimal("0.5"),
    )


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
async def test_the_list_comes_in_pages_that_sum_up(
    admin: httpx2.AsyncClient, database: Database, limit: int
) -> None:
    calls = [make_call(n, "0.02" if n % 2 else str(LINES)) for n in range(1, 11)]
    await LedgerStore(database).post(calls)
    ids: list[str] = []
    reported = 0
    cursor: dict[str, str] = {}
    while True:
        page = await get_report(admin, limit=limit, **cursor)
        assert len(page["data"]) <= limit
        ids += [row["entry_id"] for row in page["data"]]
        reported += page["entries_reported"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    back: list[str] = []
    while page["previous_cursor"] is not None:
        page = await get_report(admin, limit=limit, cursor=page["previous_cursor"])
        back = [row["entry_id"] for row in page["data"]] + back
    assert back == ids[: len(back)]
    assert len(back) == (len(ids) - 1) // limit * limit
    assert reported == 10
    assert sorted(ids) == sorted(each.entry_id for each in calls[::2])


async def test_any_number_of_digits_is_compared(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await LedgerStore(database).post([make_call(1, f"0.{'1' * 100}")])
    [row] = (await get_report(admin))["data"]
    assert row["provider_cost_usd"] == Decimal(f"0.{'1' * 15}")


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"since": "2026-11-24", "until": "2026-11-24"}, "until"),
        ({"since": "2020-01-01"}, "until"),
        ({"above_usd": -1}, "above_usd"),
        ({"limit": 201}, "limit"),
        ({"key_id": "k"}, "key_id"),
    ],
)
async def test_invalid_parameters_are_named(
    admin: httpx2.AsyncClient, params: dict[str, Any], field: str
) -> None:
    answer = await admin.get("/admin/ledger/provider-costs", params=params)
    assert answer.status_code == 422
    assert set(wrong_fields(answer)) == {field}
