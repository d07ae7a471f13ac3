"""Another time zone begins no budget anew that was spent from."""

from typing import Any

import httpx2
import pytest

from libs.common.storage.mongo.driver import Database
from tests.service.admin.problems import wrong_fields

PATH = "/admin/accounts/a"
# It is 12:00 in UTC on Tuesday, and two in the morning of Wednesday there.
AHEAD, NEAR = "Pacific/Kiritimati", "Europe/Berlin"
DAILY: dict[str, Any] = {"limit_usd": 1, "period": "daily"}
MONTHLY = {**DAILY, "period": "monthly"}


async def spend(database: Database, period: str, nusd: int = 5) -> None:
    await database["spend"].insert_one(
        {"_id": f"a|{period}", "user_id": "a", "period": period, "spent_nusd": nusd}
    )


async def change(admin: httpx2.AsyncClient, **fields: Any) -> httpx2.Response:
    return await admin.patch(PATH, json=fields)


async def test_a_spent_budget_does_not_begin_anew(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await admin.post("/admin/accounts", json={"user_id": "a", "budgets": [DAILY, MONTHLY]})
    await spend(database, "2026-11-24")
    refused = await change(admin, time_zone=AHEAD)
    assert (refused.status_code, list(wrong_fields(refused))) == (409, ["time_zone"])
    assert "2026-11-25T00:00:00+00:00" in refused.text
    assert (await admin.get(PATH)).json()["time_zone"] == "UTC"
    assert (await change(admin, time_zone=NEAR)).json()["time_zone"] == NEAR
    assert (await change(admin, time_zone=NEAR, name="same")).status_code == 200


async def test_a_keys_budget_counts_as_well(admin: httpx2.AsyncClient, database: Database) -> None:
    await admin.post("/admin/accounts", json={"user_id": "a", "budgets": [MONTHLY]})
    await spend(database, "2026-11-24")
    await admin.post("/admin/keys", json={"user_id": "a", "budgets": [DAILY]})
    assert (await change(admin, time_zone=AHEAD)).status_code == 409


@pytest.mark.parametrize(
    ("budgets", "nusd"),
    [([], 5), ([MONTHLY], 5), ([{**DAILY, "period": "total"}], 5), ([DAILY], 0)],
)
async def test_a_zone_changes_freely_where_no_budget_begins_anew(
    admin: httpx2.AsyncClient, database: Database, budgets: list[dict[str, Any]], nusd: int
) -> None:
    await admin.post("/admin/accounts", json={"user_id": "a", "budgets": budgets})
    await spend(database, "2026-11-24", nusd)
    assert (await change(admin, time_zone=AHEAD)).status_code == 200
