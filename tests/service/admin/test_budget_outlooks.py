"""Which budgets last: in the views of accounts and keys, and as a list."""

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from libs.common.storage.mongo.driver import Database
from services.admin import budget_outlooks
from tests.service.admin.test_accounts import exact

# NOW is noon, 36 hours after yesterday began; 156 hours of the month are left.
YESTERDAY, TODAY = "2026-11-23", "2026-11-24"


async def account(admin: httpx2.AsyncClient, database: Database, name: str, **fields: Any) -> None:
    """Made long ago; it spent 36 USD yesterday and today, and 60 in the month."""
    budgets = [{"limit_usd": fields.get("limit_usd", 200), "period": "monthly"}]
    await admin.post("/admin/accounts", json={"user_id": name, "budgets": budgets})
    created_at = (await admin.get(f"/admin/accounts/{name}")).json()["created_at"]
    assert created_at == "2026-11-24T12:00:00Z"
    document = await database["accounts"].find_one({"_id": name})
    assert document is not None
    old = document["created_at"].replace(year=2025)
    await database["accounts"].update_one({"_id": name}, {"$set": {"created_at": old}})
    spend = {YESTERDAY: 30 * 10**9, TODAY: 6 * 10**9, "2026-11": 60 * 10**9}
    await database["accounts"].update_one({"_id": name}, {"$set": {"spend": spend}})


async def test_an_account_shows_how_its_budgets_will_do(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await account(admin, database, "a", limit_usd=100)
    (budget,) = exact(await admin.get("/admin/accounts/a"))["spend"]["budgets"]
    assert budget["outlook"] == "runs_out"
    assert budget["expected_usd"] == 60 + 156
    assert budget["runs_out_at"] == "2026-11-26T04:00:00Z"


async def test_a_key_shows_what_it_spent_and_how_its_budgets_will_do(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await admin.post("/admin/accounts", json={"user_id": "a", "time_zone": "Asia/Kolkata"})
    budgets = [{"limit_usd": 3, "period": "daily"}, {"limit_usd": 9, "period": "weekly"}]
    key_ids = [
        (await admin.post("/admin/keys", json={"user_id": "a", "budgets": each})).json()["key_id"]
        for each in (budgets, [])
    ]
    for key_id in key_ids:
        for day, nusd in (("2025-01-01", 1), (YESTERDAY, 10**9), (TODAY, 2 * 10**9)):
            await database["rollups"].insert_one(
                {"user_id": "a", "key_id": key_id, "day": day, "cost_nusd": nusd, "revision": 1}
            )
    for key_id in key_ids:
        spend = exact(await admin.get(f"/admin/keys/{key_id}"))["spend"]
        assert spend["total_usd"] == Decimal("3.000000001")
    keys = exact(await admin.get("/admin/keys"))["data"]
    assert ["total_usd" in key["spend"] for key in keys] == [False, False]
    daily, weekly = keys[0]["spend"]["budgets"]
    # The key is new, so its pace is that of an hour; the day ends at 18:30 UTC.
    assert (daily["spent_usd"], daily["outlook"]) == (2, "runs_out")
    assert daily["expected_usd"] == 2 + Decimal(3) * Decimal("6.5")
    assert daily["runs_out_at"] == "2026-11-24T12:20:00Z"
    assert (weekly["spent_usd"], weekly["runs_out_at"]) == (3, "2026-11-24T14:00:00Z")


async def list_page(
    admin: httpx2.AsyncClient, **params: Any
) -> tuple[list[tuple[str, str]], str | None]:
    answer = await admin.get("/admin/budgets", params=params)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    return [(row["user_id"], row["outlook"]) for row in page["data"]], page["next_cursor"]


async def test_budgets_at_risk_are_listed(admin: httpx2.AsyncClient, database: Database) -> None:
    for name, limit in (("a", 60), ("b", 500), ("c", 100)):
        await account(admin, database, name, limit_usd=limit)
    await admin.post("/admin/accounts", json={"user_id": "none"})
    every = [("a", "exhausted"), ("b", "lasts"), ("c", "runs_out")]
    assert await list_page(admin) == (every, None)
    at_risk = [every[0], every[2]]
    assert await list_page(admin, at_risk="true") == (at_risk, None)
    first, cursor = await list_page(admin, at_risk="true", limit=1)
    assert first == at_risk[:1]
    assert await list_page(admin, at_risk="true", limit=1, cursor=cursor) == (at_risk[1:], None)
    assert await list_page(admin, user_id="b", at_risk="true") == ([], None)
    assert await list_page(admin, user_id="c", at_risk="true") == (at_risk[1:], None)
    (row,) = exact(await admin.get("/admin/budgets", params={"user_id": "c"}))["data"]
    assert row == {
        "user_id": "c",
        "key_id": None,
        "budget_period": "monthly",
        "period": "2026-11",
        "spent_usd": 60,
        "limit_usd": 100,
        "remaining_usd": 40,
        "ends_at": "2026-12-01T00:00:00Z",
        "outlook": "runs_out",
        "expected_usd": 216,
        "runs_out_at": "2026-11-26T04:00:00Z",
    }


async def test_a_page_looks_at_a_bounded_number_of_accounts(
    admin: httpx2.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_outlooks, "_READ_AT_ONCE", {False: 2, True: 2})
    monkeypatch.setattr(budget_outlooks, "_LOOKED_AT", 4)
    for number in range(7):
        await account(admin, database, f"u{number}", limit_usd=100 if number == 6 else 900)
    page, cursor = await list_page(admin, at_risk="true")
    assert page == []
    assert cursor is not None
    assert await list_page(admin, at_risk="true", cursor=cursor) == ([("u6", "runs_out")], None)
    rows: list[tuple[str, str]] = []
    cursor = None
    for _ in range(4):
        page, cursor = await list_page(
            admin, limit=2, **({} if cursor is None else {"cursor": cursor})
        )
        rows += page
    assert ([user for user, _ in rows], cursor) == ([f"u{n}" for n in range(7)], None)


@pytest.mark.parametrize("of", ["account", "key"])
@pytest.mark.parametrize("at_risk", [False, True])
async def test_the_list_goes_back_as_it_came(
    admin: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, of: str, at_risk: bool
) -> None:
    monkeypatch.setattr(budget_outlooks, "_READ_AT_ONCE", {False: 2, True: 2})
    budgets = [{"limit_usd": 0, "period": "total"}, {"limit_usd": 1, "period": "daily"}]
    for number in range(7):
        owner = {"user_id": f"u{number}", "budgets": [] if number == 3 else budgets}
        await admin.post("/admin/accounts", json=owner)
        await admin.post("/admin/keys", json=owner)
    params = {"of": of, "limit": "2", "at_risk": str(at_risk).lower()}
    page = (await admin.get("/admin/budgets", params=params)).json()
    pages = [page["data"]]
    while page["next_cursor"] is not None:
        following = params | {"cursor": page["next_cursor"]}
        page = (await admin.get("/admin/budgets", params=following)).json()
        pages.append(page["data"])
    assert [len({row["user_id"] for row in page}) for page in pages] == [2, 2, 2]
    # Of one owner, the budgets keep their order.
    assert [row["budget_period"] for row in pages[0]] == ["total", "daily"][: 2 - at_risk] * 2
    for data in pages[-2::-1]:
        previous = params | {"cursor": page["previous_cursor"]}
        page = (await admin.get("/admin/budgets", params=previous)).json()
        assert page["data"] == data
    assert page["previous_cursor"] is None
    other = {"of": "account" if of == "key" else "key", "cursor": page["next_cursor"]}
    assert (await admin.get("/admin/budgets", params=other)).status_code == 400


async def test_budgets_of_keys_are_listed(admin: httpx2.AsyncClient) -> None:
    for user_id in ("a", "b"):
        await admin.post("/admin/accounts", json={"user_id": user_id})
        for budgets in ([], [{"limit_usd": 0, "period": "total"}]):
            await admin.post("/admin/keys", json={"user_id": user_id, "budgets": budgets})
    assert await list_page(admin, of="key") == ([("a", "exhausted"), ("b", "exhausted")], None)
    assert await list_page(admin, of="key", user_id="b") == ([("b", "exhausted")], None)
    assert (await admin.get("/admin/budgets", params={"user_id": "nobody"})).status_code == 404
    wrong = await admin.get("/admin/budgets", params={"of": "team", "at_risk": "perhaps"})
    assert wrong.status_code == 422
