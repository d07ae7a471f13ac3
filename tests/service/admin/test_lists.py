"""What all lists have in common: one envelope, cursors both ways, orders, search, filters."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import msgspec
import pytest

from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger import LedgerStore
from services.admin.pages import cursor_of
from tests.service.admin.conftest import NOW
from tests.service.admin.test_usage import entry
from tests.support.sent_commands import sent_commands

Make = Callable[[httpx2.AsyncClient, Database], Awaitable[None]]
NAMES = ["a1", "a2", "b1", "b2", "c1"]


async def accounts(admin: httpx2.AsyncClient, _: Database) -> None:
    for name in NAMES:
        assert (await admin.post("/admin/accounts", json={"user_id": name})).status_code == 201


async def keys(admin: httpx2.AsyncClient, database: Database) -> None:
    await accounts(admin, database)
    for name in NAMES:
        answer = await admin.post("/admin/keys", json={"user_id": name, "name": f"Key of {name}"})
        assert answer.status_code == 201


async def routes(admin: httpx2.AsyncClient, _: Database) -> None:
    for name in NAMES:
        body = {"model": f"house/{name}", "deployments": [{"model": "openai/gpt-4o"}]}
        assert (await admin.post("/admin/models", json=body)).status_code == 201


async def prices(admin: httpx2.AsyncClient, _: Database) -> None:
    for name in NAMES:
        body = {"model": name, "input_cost_per_million": 1, "output_cost_per_million": 2}
        assert (await admin.post("/admin/costs", json=body)).status_code == 201


async def people(admin: httpx2.AsyncClient, _: Database) -> None:
    for name in NAMES:
        answer = await admin.post("/admin/people", json={"name": f"Ms {name}", "role": "viewer"})
        assert answer.status_code == 201


LISTS: dict[str, tuple[str, Make, str, str]] = {
    "accounts": ("/admin/accounts", accounts, "user_id", "user_id"),
    "accounts by time": ("/admin/accounts", accounts, "user_id", "created_at"),
    "keys": ("/admin/keys", keys, "key_id", "key_id"),
    "routes": ("/admin/models", routes, "model", "model"),
    "prices": ("/admin/costs", prices, "price_id", "model"),
    "every price": ("/admin/costs?history=true", prices, "price_id", "price_id"),
    "people": ("/admin/people", people, "person_id", "person_id"),
}


async def page(admin: httpx2.AsyncClient, path: str, **params: Any) -> dict[str, Any]:
    answer = await admin.get(httpx2.URL(path).copy_merge_params(params))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert {"data", "next_cursor", "previous_cursor"} <= body.keys()
    return body


@pytest.mark.parametrize("name", LISTS)
async def test_a_list_is_read_in_both_directions(
    admin: httpx2.AsyncClient, database: Database, name: str
) -> None:
    path, make, id_field, sort = LISTS[name]
    await make(admin, database)
    whole = [row[id_field] for row in (await page(admin, path, sort=sort))["data"]]
    assert len(set(whole)) == len(NAMES)
    for order, expected in ((sort, whole), (f"-{sort}", whole[::-1])):
        pages = [await page(admin, path, sort=order, limit=2)]
        assert pages[0]["previous_cursor"] is None
        while pages[-1]["next_cursor"] is not None:
            cursor = pages[-1]["next_cursor"]
            pages.append(await page(admin, path, sort=order, limit=2, cursor=cursor))
        ids = [[row[id_field] for row in each["data"]] for each in pages]
        assert ids == [expected[:2], expected[2:4], expected[4:]]
        back = pages[-1]
        for rows in (expected[2:4], expected[:2]):
            cursor = back["previous_cursor"]
            back = await page(admin, path, sort=order, limit=2, cursor=cursor)
            assert [row[id_field] for row in back["data"]] == rows
        assert back["previous_cursor"] is None
        again = await page(admin, path, sort=order, limit=2, cursor=back["next_cursor"])
        assert [row[id_field] for row in again["data"]] == expected[2:4]


async def test_a_page_whose_rows_are_gone_still_leads_on(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await routes(admin, database)
    path = "/admin/models"
    first = await page(admin, path, limit=2)
    second = await page(admin, path, limit=2, cursor=first["next_cursor"])
    for name in ("a1", "a2", "c1"):
        assert (await admin.delete(f"{path}/house/{name}")).status_code == 204
    gone = await page(admin, path, limit=2, cursor=second["previous_cursor"])
    assert (gone["data"], gone["previous_cursor"]) == ([], None)
    again = await page(admin, path, limit=2, cursor=gone["next_cursor"])
    assert [row["model"] for row in again["data"]] == ["house/b1", "house/b2"]
    gone = await page(admin, path, limit=2, cursor=second["next_cursor"])
    assert (gone["data"], gone["next_cursor"]) == ([], None)
    again = await page(admin, path, limit=2, cursor=gone["previous_cursor"])
    assert [row["model"] for row in again["data"]] == ["house/b1", "house/b2"]


@pytest.mark.parametrize(
    ("name", "q", "found"),
    [
        ("accounts", "A", ["a1", "a2"]),
        ("accounts", "1", ["a1", "b1", "c1"]),
        ("keys", "key OF b", ["b1", "b2"]),
        ("routes", "house/c", ["house/c1"]),
        ("routes", "GPT-4o", [f"house/{name}" for name in NAMES]),
        ("people", "MS b2", ["Ms b2"]),
        ("accounts", "$where", []),
        ("accounts", ".*", []),
    ],
)
async def test_a_search_finds_parts_in_any_case(
    admin: httpx2.AsyncClient, database: Database, name: str, q: str, found: list[str]
) -> None:
    path, make, id_field, _ = LISTS[name]
    await make(admin, database)
    field = "name" if name == "people" else "user_id" if name == "keys" else id_field
    assert [row[field] for row in (await page(admin, path, q=q))["data"]] == found


async def test_a_page_of_accounts_is_read_at_once_with_its_spend(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    for n in range(3):
        budget = {"limit_usd": 10, "period": "total"}
        body = {"user_id": f"u{n}", "budget": budget if n else None}
        assert (await admin.post("/admin/accounts", json=body)).status_code == 201
    # More than 32 bits, in an account that was ever posted to.
    paid = msgspec.structs.replace(entry(1, user_id="u1"), cost_nusd=5_000_000_001)
    await LedgerStore(database).post([paid])
    with sent_commands() as commands:
        accounts_page = await page(admin, "/admin/accounts")
    assert [row["spend"]["period_usd"] for row in accounts_page["data"]] == [None, 5.000000001, 0]
    assert [row["spend"]["total_usd"] for row in accounts_page["data"]] == [0, 5.000000001, 0]
    finds = [each["find"] for each in commands if "find" in each]
    assert finds == ["accounts"]


@pytest.mark.parametrize("name", LISTS)
async def test_unknown_parameters_and_values_are_refused(
    admin: httpx2.AsyncClient, name: str
) -> None:
    path, _, _, sort = LISTS[name]
    for field, value, status in (
        ("where", "1", 422),
        ("sort", "cost", 422),
        ("limit", "201", 422),
        ("cursor", "zzz", 400),
        ("cursor", "", 400),
        ("cursor", "z" * 3000, 400),
    ):
        answer = await admin.get(httpx2.URL(path).copy_merge_params({"sort": sort, field: value}))
        assert answer.status_code == status
        assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_a_cursor_is_of_one_order(admin: httpx2.AsyncClient, database: Database) -> None:
    await accounts(admin, database)
    cursor = (await page(admin, "/admin/accounts", limit=2))["next_cursor"]
    params = {"cursor": cursor, "sort": "-user_id"}
    assert (await admin.get("/admin/accounts", params=params)).status_code == 400


async def test_archived_accounts_are_shown_to_those_who_ask(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await accounts(admin, database)
    for user_id, status in (("a1", "archived"), ("b1", "suspended")):
        path = f"/admin/accounts/{user_id}"
        assert (await admin.patch(path, json={"status": status})).json()["status"] == status

    async def user_ids(**params: str) -> list[str]:
        return [row["user_id"] for row in (await page(admin, "/admin/accounts", **params))["data"]]

    assert await user_ids() == ["a2", "b1", "b2", "c1"]
    assert await user_ids(status="archived") == ["a1"]
    assert await user_ids(status="suspended") == ["b1"]
    assert (await admin.get("/admin/accounts/a1")).json()["status"] == "archived"
    refused = await admin.post("/admin/keys", json={"user_id": "a1"})
    assert refused.status_code == 409
    await admin.patch("/admin/accounts/a1", json={"status": "active"})
    assert (await admin.post("/admin/keys", json={"user_id": "a1"})).status_code == 201


async def test_keys_are_found_by_prefix_status_and_expiry(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await keys(admin, database)
    rows = (await page(admin, "/admin/keys"))["data"]
    ids = [row["key_id"] for row in rows]
    await admin.delete(f"/admin/keys/{ids[0]}")
    await database["keys"].update_one({"_id": ids[1]}, {"$set": {"expires_at": NOW}})
    await admin.patch(f"/admin/keys/{ids[2]}", json={"expires_at": "2026-12-01T00:00:00Z"})
    rotated = (await admin.post(f"/admin/keys/{ids[3]}/rotate")).json()

    async def key_ids(**params: str) -> list[str]:
        return [row["key_id"] for row in (await page(admin, "/admin/keys", **params))["data"]]

    assert await key_ids(status="revoked") == ids[:1]
    assert await key_ids(status="expired") == ids[1:2]
    assert await key_ids(status="active") == ids[2:]
    assert await key_ids(expires_before="2026-11-25") == ids[1:2]
    assert await key_ids(expires_before="2026-12-02") == ids[1:3]
    for prefix in (rotated["prefix"], rows[3]["prefix"]):
        assert await key_ids(prefix=prefix) == ids[3:4]
    assert await key_ids(prefix=rows[0]["prefix"], status="active") == []
    assert await key_ids(prefix=rows[0]["prefix"], user_id="a2") == []
    for wrong in (rotated["api_key"], "sk-gw-", "sk-gw-1234567", "xx-gw-123456"):
        answer = await admin.get("/admin/keys", params={"prefix": wrong})
        assert answer.status_code == 422
        assert wrong not in answer.text or len(wrong) < 14


MADE_UP = (
    "", "junk", "-5", "9" * 5000, str(10**23), "null", '[false,false,"x",null,1]',
    '[false,false,"x",1000000000000000000]', '[false,false,"x",-1000000000000000]',
    '[false,false,"x",1.5]', '[true,true,"x","y"]', '[true,false,"9007199254740993"]',
)  # fmt: skip
KINDS = {
    "accounts": "user_id by user_id",
    "accounts?sort=created_at": "user_id by created_at",
    "keys": "key_id by key_id",
    "audit": "seq by -seq",
    "audit/verify": "audit_proof",
    "usage": "entry_id by -started_at",
}


async def test_a_made_up_cursor_is_a_client_error(
    admin: httpx2.AsyncClient,
) -> None:
    for path, kind in KINDS.items():
        for place in MADE_UP:
            answer = await admin.get(f"/admin/{path}", params={"cursor": cursor_of(kind, place)})
            assert answer.status_code in (200, 400), (path, place, answer.text)
