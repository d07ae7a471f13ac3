"""People with accounts in scope see and change these alone."""

from typing import Any

import httpx2
import msgspec
import pytest

from libs.common.storage.mongo.driver import Database, to_document
from libs.common.storage.queue.recordings import RecordingStore
from services.admin.people import scopes
from services.admin.routes import ENDPOINTS
from tests.service.admin.conftest import NOW
from tests.service.admin.problems import wrong_fields
from tests.service.admin.test_people import by, make_person
from tests.service.admin.test_recordings import recording, store
from tests.unit.builders import entry

MINE, OTHERS = "mine", "others"


class World(msgspec.Struct, frozen=True):
    """A client whose actor reaches the account MINE, and a key of each account."""

    admin: httpx2.AsyncClient
    mine: dict[str, Any]
    others: dict[str, Any]


@pytest.fixture
async def world(admin: httpx2.AsyncClient) -> World:
    keys = {}
    for user_id in (MINE, OTHERS):
        await admin.post("/admin/accounts", json={"user_id": user_id})
        keys[user_id] = (await admin.post("/admin/keys", json={"user_id": user_id})).json()
    operator = await make_person(admin, role="operator", accounts=[MINE])
    admin.headers.update(by(operator))
    return World(admin, keys[MINE], keys[OTHERS])


async def test_lists_hold_the_accounts_in_scope(world: World) -> None:
    accounts = (await world.admin.get("/admin/accounts")).json()
    assert [row["user_id"] for row in accounts["data"]] == [MINE]
    keys = (await world.admin.get("/admin/keys")).json()
    assert [row["key_id"] for row in keys["data"]] == [world.mine["key_id"]]
    for path in ("/admin/usage", "/admin/usage/summary", "/admin/usage/series"):
        assert (await world.admin.get(path)).status_code == 200
    filtered = await world.admin.get("/admin/usage", params={"limit": 1, "user_id": MINE})
    assert filtered.status_code == 200


async def test_objects_of_other_accounts_do_not_exist(world: World) -> None:
    key = world.others["key_id"]
    for method, path, body in (
        ("GET", f"/admin/accounts/{OTHERS}", None),
        ("PATCH", f"/admin/accounts/{OTHERS}", {"name": "x"}),
        ("POST", "/admin/keys", {"user_id": OTHERS}),
        ("GET", f"/admin/keys/{key}", None),
        ("GET", f"/admin/keys/{world.others['api_key']}", None),
        ("PATCH", f"/admin/keys/{key}", {"name": "x"}),
        ("DELETE", f"/admin/keys/{key}", None),
        ("POST", f"/admin/keys/{key}/rotate", {}),
        ("GET", f"/admin/keys?user_id={OTHERS}", None),
        ("GET", f"/admin/usage?user_id={OTHERS}", None),
        ("GET", f"/admin/usage?user_id={MINE}&user_id={OTHERS}", None),
        ("GET", f"/admin/usage/user/{OTHERS}", None),
        ("GET", f"/admin/usage/summary?user_id={OTHERS}", None),
        ("GET", f"/admin/usage/summary?key_id={key}", None),
        ("GET", f"/admin/recordings?user_id={OTHERS}", None),
        ("DELETE", f"/admin/recordings?user_id={OTHERS}", None),
    ):
        answer = await world.admin.request(method, path, json=body)
        assert answer.status_code == 404, (method, path, answer.text)
    # As an account that does not exist is answered, so that nothing tells which ones there are.
    unknown = await world.admin.get("/admin/accounts/nobody")
    hidden = await world.admin.get(f"/admin/accounts/{OTHERS}")
    assert unknown.json()["detail"] == hidden.json()["detail"].replace(OTHERS, "nobody")


async def test_a_scoped_person_can_change_accounts_in_scope(world: World) -> None:
    key = world.mine["key_id"]
    for method, path, body, status in (
        ("PATCH", f"/admin/accounts/{MINE}", {"name": "x"}, 200),
        ("POST", "/admin/keys", {"user_id": MINE}, 201),
        ("PATCH", f"/admin/keys/{key}", {"name": "x"}, 200),
        ("GET", f"/admin/keys/{world.mine['api_key']}", None, 200),
        ("DELETE", f"/admin/keys/{key}", None, 200),
    ):
        answer = await world.admin.request(method, path, json=body)
        assert answer.status_code == status, (method, path, answer.text)


async def test_global_objects_are_closed_to_scoped_actors(world: World) -> None:
    endpoints = [e for e in ENDPOINTS if e.scope is None and e.role]
    assert endpoints
    for endpoint in endpoints:
        path = endpoint.path.replace("{user_id}", MINE).replace("{", "").replace("}", "")
        answer = await world.admin.request(endpoint.method, path, json={})
        assert answer.status_code == 403, (endpoint.method, endpoint.path)


def test_every_row_about_an_account_has_a_scope() -> None:
    endpoints = [e for e in ENDPOINTS if "{user_id}" in e.path]
    assert endpoints
    assert all(e.scope is scopes.of_path for e in endpoints)


async def test_entries_and_recordings_of_others_do_not_exist(
    world: World, database: Database
) -> None:
    ids = {}
    for user_id in (MINE, OTHERS):
        row = entry(f"of-{user_id}", user_id=user_id, price_id=None)
        await database["entries"].insert_one(to_document(row, key="entry_id"))
        record = msgspec.structs.replace(recording(NOW, user_id), call_id=f"said-{user_id}")
        (ids[user_id],) = await store(database, record)
    for method, path in (
        ("GET", "/admin/ledger/entries/of-{}"),
        ("GET", "/admin/recordings/said-{}"),
        ("DELETE", "/admin/recordings/said-{}"),
    ):
        answer = await world.admin.request(method, path.format(OTHERS))
        assert answer.status_code == 404, (method, path)
        assert (await world.admin.request(method, path.format(MINE))).status_code in (200, 204)
    assert await RecordingStore(database).get(ids[OTHERS]) is not None
    # Without a user_id it is not a list, so nothing fills the one in scope in.
    assert (await world.admin.delete("/admin/recordings")).status_code == 422


async def test_odd_bodies_reach_no_other_account(world: World) -> None:
    for content in (
        b'{"user_id":"mine","user_id":"others"}',
        b'{"user_id":"others","user_id":"mine"}',
        b'{"user\\u005fid":"others"}',
        b'{"user_id":["others"]}',
        b'{"user_id":{"$ne":"x"}}',
        b"[]",
        b"{",
        b"",
    ):
        answer = await world.admin.post(
            "/admin/keys", content=content, headers={"content-type": "application/json"}
        )
        if answer.status_code == 201:
            assert answer.json()["user_id"] == MINE
        else:
            assert answer.status_code in (400, 404, 422), (content, answer.text)


async def test_with_several_accounts_lists_ask_for_one(admin: httpx2.AsyncClient) -> None:
    for user_id in ("a", "b", "c"):
        await admin.post("/admin/accounts", json={"user_id": user_id})
    viewer = await make_person(admin, accounts=["c", "a"])
    refused = await admin.get("/admin/usage", headers=by(viewer))
    assert "c, a" in wrong_fields(refused)["user_id"]
    first = (await admin.get("/admin/accounts?limit=1", headers=by(viewer))).json()
    assert [row["user_id"] for row in first["data"]] == ["a"]
    path = f"/admin/accounts?limit=1&cursor={first['next_cursor']}"
    second = (await admin.get(path, headers=by(viewer))).json()
    assert [row["user_id"] for row in second["data"]] == ["c"]
    assert second["next_cursor"] is None


async def test_an_entry_of_another_account_looks_like_a_missing_one(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    for user_id in (MINE, OTHERS):
        await admin.post("/admin/accounts", json={"user_id": user_id})
    row = entry("of-others", user_id=OTHERS, price_id=None)
    await database["entries"].insert_one(to_document(row, key="entry_id"))
    admin.headers.update(by(await make_person(admin, role="billing", accounts=[MINE])))
    body = {"user_id": MINE, "kind": "refund", "amount_usd": -1, "reason": "r"}
    answers = [
        await admin.post(
            "/admin/ledger/corrections", json=body | {"idempotency_key": name, "entry_id": name}
        )
        for name in ("of-others", "of-nobody")
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json()["detail"].replace("others", "nobody") == answers[1].json()["detail"]
