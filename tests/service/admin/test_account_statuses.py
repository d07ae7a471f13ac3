"""`POST /admin/account-status`."""

from typing import Any

import httpx2
import pytest

from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.shared_cache import cached_item_key
from services.admin import account_statuses
from tests.service.admin.problems import wrong_fields

PATH = "/admin/account-status"
TEAMS = {"a": "red", "b": "red", "c": "blue", "d": "red"}


@pytest.fixture(autouse=True)
async def accounts(admin: httpx2.AsyncClient) -> None:
    for user_id, team in TEAMS.items():
        body = {"user_id": user_id, "metadata": {"team": team}}
        assert (await admin.post("/admin/accounts", json=body)).status_code == 201


async def statuses(admin: httpx2.AsyncClient) -> dict[str, str]:
    return {
        user_id: (await admin.get(f"/admin/accounts/{user_id}")).json()["status"]
        for user_id in TEAMS
    }


async def post(admin: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await admin.post(PATH, json={"status": "suspended", **body})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


RED = {"metadata": {"team": "red"}}


async def test_a_dry_run_says_how_many_and_changes_nothing(admin: httpx2.AsyncClient) -> None:
    result = await post(admin, filter=RED)
    assert result == {
        "dry_run": True,
        "status": "suspended",
        "accounts": 3,
        "user_ids": ["a", "b", "d"],
        "missed": [],
        "next_cursor": None,
    }
    assert set((await statuses(admin)).values()) == {"active"}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (RED, "abd"),
        ({"user_ids": ["c", "a", "nobody"]}, "ac"),
        ({"user_ids": ["c", "a"], **RED}, "a"),
        ({"q": "B"}, "b"),
        ({"status": "active"}, "abcd"),
        ({"status": "archived"}, ""),
    ],
)
async def test_the_accounts_that_are_found_change(
    admin: httpx2.AsyncClient, redis: Redis, wanted: dict[str, Any], found: str
) -> None:
    await redis.flushall()
    result = await post(admin, filter=wanted, dry_run=False)
    assert (result["user_ids"], result["accounts"]) == (list(found), len(found))
    assert await statuses(admin) == {
        user_id: "suspended" if user_id in found else "active" for user_id in TEAMS
    }
    tombstones = [name for name in TEAMS if await redis.exists(cached_item_key("account", name))]
    assert tombstones == list(found)
    again = await post(admin, filter=wanted, dry_run=False)
    assert again["accounts"] == 0
    selection = {"user_ids": list(TEAMS), "status": "suspended"}
    back = await post(admin, filter=selection, status="active", dry_run=False)
    assert back["user_ids"] == list(found)


async def test_a_request_changes_a_bounded_number_of_accounts(
    admin: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_statuses, "_MAX_CHANGED", 2)
    first = await post(admin, filter=RED, dry_run=False)
    assert first["user_ids"] == ["a", "b"]
    rest = await post(admin, filter=RED, dry_run=False, cursor=first["next_cursor"])
    assert (rest["user_ids"], rest["next_cursor"]) == (["d"], None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"filter": {}}, "filter"),
        ({}, "filter"),
        ({"filter": {"user_ids": []}}, "filter.user_ids"),
        ({"filter": {"where": "1"}}, "filter.where"),
        ({"filter": RED, "status": "gone"}, "status"),
    ],
)
async def test_a_wrong_filter_is_refused(
    admin: httpx2.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await admin.post(PATH, json={"status": "suspended", "dry_run": False, **body})
    assert (answer.status_code, list(wrong_fields(answer))) == (422, [field])
    assert set((await statuses(admin)).values()) == {"active"}


async def test_a_foreign_cursor_changes_nothing(admin: httpx2.AsyncClient) -> None:
    body = {"status": "suspended", "dry_run": False, "filter": RED, "cursor": "zzz"}
    answer = await admin.post(PATH, json=body)
    assert (answer.status_code, list(wrong_fields(answer))) == (400, ["cursor"])
    assert set((await statuses(admin)).values()) == {"active"}
