"""Another time zone begins no budget anew that was spent from."""

from typing import Any

import httpx2
import pytest

from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger import LedgerStore
from tests.service.admin.problems import wrong_fields
from tests.service.admin.test_usage import entry

PATH = "/admin/accounts/a"
# It is 12:00 in UTC on Tuesday, and two in the morning of Wednesday there.
AHEAD, NEAR = "Pacific/Kiritimati", "Europe/Berlin"
DAILY: dict[str, Any] = {"limit_usd": 1, "period": "daily"}
MONTHLY = {**DAILY, "period": "monthly"}


async def spend(database: Database) -> None:
    """By a call that was made today."""
    await LedgerStore(database).post([entry(1)])


async def change(admin: httpx2.AsyncClient, **fields: Any) -> httpx2.Response:
    return await admin.patch(PATH, json=fields)


async def test_a_spent_budget_does_not_begin_anew(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await admin.post("/admin/accounts", json={"user_id": "a", "budgets": [DAILY, MONTHLY]})
    await spend(database)
    refused = await change(admin, time_zone=AHEAD)
    assert (refused.status_code, list(wrong_fields(refused))) == (409, ["time_zone"])
    assert "2026-11-25T00:00:00+00:00" in refused.text
    assert (await admin.get(PATH)).json()["time_zone"] == "UTC"
    assert (await change(admin, time_zone=NEAR)).json()["time_zone"] == NEAR
    assert (await change(admin, time_zone=NEAR, name="same")).status_code == 200


async def test_a_keys_budget_counts_as_well(admin: httpx2.AsyncClient, database: Database) -> None:
    await admin.post("/admin/accounts", json={"user_id": "a", "budgets": [MONTHLY]})
    await spend(database)
    await admin.post("/admin/keys", json={"user_id": "a", "budgets": [DAILY]})
    assert (await change(admin, time_zone=AHEAD)).status_code == 409


@pytest.mark.parametrize(
    ("budgets", "has_spent"),
    [([], True), ([MONTHLY], True), ([{**DAILY, "period": "total"}], True), ([DAILY], False)],
)
async def test_a_zone_changes_freely_where_no_budget_begins_anew(
    admin: httpx2.AsyncClient, database: Database, budgets: list[dict[str, Any]], has_spent: bool
) -> None:
    await admin.post("/admin/accounts", json={"user_id": "a", "budgets": budgets})
    if has_spent:
        await spend(database)
    assert (await change(admin, time_zone=AHEAD)).status_code == 200
