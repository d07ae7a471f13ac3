"""`/admin/keys`."""

import hashlib
from typing import Any

import httpx2
import pytest

from libs.common.storage.mongo.driver import Database
from tests.service.admin.problems import problem, wrong_fields

PUBLIC = {
    "key_id",
    "user_id",
    "name",
    "prefix",
    "old_secrets",
    "allowed_models",
    "provider_objects",
    "expires_at",
    "budgets",
    "limits",
    "recording",
    "spend",
    "status",
    "created_by",
    "updated_by",
    "created_at",
    "updated_at",
}


@pytest.fixture(autouse=True)
async def accounts(admin: httpx2.AsyncClient) -> None:
    for user_id in ("a", "b"):
        await admin.post("/admin/accounts", json={"user_id": user_id})


async def make(admin: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await admin.post("/admin/keys", json={"user_id": "a", **fields})
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    return key


async def test_a_secret_is_shown_once_and_stored_as_a_hash(
    admin: httpx2.AsyncClient, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    key = await make(
        admin,
        name="ci",
        allowed_models=["gpt-4o*", "claude-x"],
        expires_at="2026-11-25T00:00:00.123456+01:00",
    )
    secret = key.pop("api_key")
    assert secret.startswith("sk-gw-")
    assert len(secret) == len("sk-gw-") + 43
    assert set(key) == PUBLIC
    assert secret.startswith(key["prefix"])
    assert len(key["prefix"]) == 12
    assert key["key_id"].startswith("key_")
    assert key["allowed_models"] == ["gpt-4o*", "claude-x"]
    assert key["expires_at"] == "2026-11-24T23:00:00.123000Z"
    document = await database["keys"].find_one({})
    assert document is not None
    assert document["secret_hash"] == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in repr(document)
    for path in ("/admin/keys", f"/admin/keys/{key['key_id']}", f"/admin/keys/{secret}"):
        view = await admin.get(path)
        assert view.status_code == 200
        assert secret not in view.text
        assert document["secret_hash"] not in view.text
    assert (await admin.get(f"/admin/keys/{secret}")).json() == key
    assert (await admin.patch(f"/admin/keys/{secret}", json={"name": 5})).status_code == 422
    assert (await admin.get(f"/admin/keys/{secret}x")).status_code == 404
    assert (await admin.get(f"/admin/keys/{secret}/more")).status_code == 404
    assert secret[12:] not in "".join(capsys.readouterr())


async def test_two_keys_never_share_a_secret(admin: httpx2.AsyncClient) -> None:
    assert len({(await make(admin))["api_key"] for _ in range(5)}) == 5


async def test_a_key_needs_an_account(admin: httpx2.AsyncClient, database: Database) -> None:
    answer = await admin.post("/admin/keys", json={"user_id": "nobody"})
    assert answer.status_code == 404
    assert problem(answer)["code"] == "not_found"
    assert wrong_fields(answer) == {"user_id": "There is no account 'nobody'."}
    assert await database["keys"].count_documents({}) == 0


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"user_id"}),
        ({"user_id": "a", "allowed_models": []}, {"allowed_models"}),
        ({"user_id": "a", "allowed_models": ["x", ""]}, {"allowed_models"}),
        ({"user_id": "a", "allowed_models": ["x", "x"]}, {"allowed_models"}),
        ({"user_id": "a", "allowed_models": ["x", 5]}, {"allowed_models"}),
        ({"user_id": "a", "allowed_models": "x"}, {"allowed_models"}),
        ({"user_id": "a", "allowed_models": [str(n) for n in range(257)]}, {"allowed_models"}),
        ({"user_id": "a", "expires_at": "2026-12-01T00:00:00"}, {"expires_at"}),
        ({"user_id": "a", "expires_at": "2026-11-24T12:00:00Z"}, {"expires_at"}),
        ({"user_id": "a", "expires_at": "tomorrow"}, {"expires_at"}),
        (
            {"user_id": "|", "expires_at": "2020-01-01T00:00:00Z", "models": [], "name": 1},
            {"user_id", "expires_at", "models", "name"},
        ),
    ],
)
async def test_every_invalid_field_is_named(
    admin: httpx2.AsyncClient, database: Database, body: object, fields: set[str]
) -> None:
    answer = await admin.post("/admin/keys", json=body)
    assert answer.status_code == 422, answer.text
    assert set(wrong_fields(answer)) == fields
    assert await database["keys"].count_documents({}) == 0


async def test_keys_are_listed_in_pages_and_by_account(admin: httpx2.AsyncClient) -> None:
    ids = [(await make(admin))["key_id"] for _ in range(3)]
    ids_b = [(await make(admin, user_id="b"))["key_id"]]
    first = (await admin.get("/admin/keys", params={"user_id": "a", "limit": 2})).json()
    rest = (
        await admin.get(
            "/admin/keys", params={"user_id": "a", "limit": 2, "cursor": first["next_cursor"]}
        )
    ).json()
    assert {key["key_id"] for key in first["data"] + rest["data"]} == set(ids)
    assert (len(first["data"]), rest["next_cursor"]) == (2, None)
    everyone = (await admin.get("/admin/keys")).json()["data"]
    assert {key["key_id"] for key in everyone} == set(ids + ids_b)
    assert (await admin.get("/admin/keys", params={"user_id": "nobody"})).status_code == 404


@pytest.mark.parametrize("named_by", ["key_id", "api_key"])
async def test_changes_leave_other_fields_alone(admin: httpx2.AsyncClient, named_by: str) -> None:
    key = await make(admin, name="ci", allowed_models=["x"], expires_at="2027-01-01T00:00:00Z")
    path = f"/admin/keys/{key[named_by]}"
    expected = {field: key[field] for field in PUBLIC}
    for changes in (
        {"allowed_models": None},
        {"expires_at": "2028-01-01T00:00:00Z", "name": "cd"},
        {"expires_at": None},
        {"status": "active", "allowed_models": ["y", "z"]},
        {"status": "revoked"},
        {"name": "old"},
    ):
        expected |= changes
        answer = await admin.patch(path, json=changes)
        assert answer.status_code == 200
        assert answer.json() == expected
    assert (await admin.get(path)).json() == expected


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"body"}),
        ({"user_id": "b"}, {"user_id"}),
        ({"status": "deleted", "name": None}, {"status", "name"}),
        ({"expires_at": "2020-01-01T00:00:00Z", "allowed_models": []}, None),
        ({"secret_hash": "x"}, {"secret_hash"}),
    ],
)
async def test_an_invalid_change_changes_nothing(
    admin: httpx2.AsyncClient, body: dict[str, Any], fields: set[str] | None
) -> None:
    key = await make(admin)
    answer = await admin.patch(f"/admin/keys/{key['key_id']}", json=body)
    assert answer.status_code == 422
    assert set(wrong_fields(answer)) == (fields or set(body))
    view = (await admin.get(f"/admin/keys/{key['key_id']}")).json()
    assert view == {field: key[field] for field in PUBLIC}


async def test_a_deleted_key_is_revoked_and_stays(admin: httpx2.AsyncClient) -> None:
    key = await make(admin)
    for _ in range(2):
        answer = await admin.delete(f"/admin/keys/{key['api_key']}")
        assert answer.status_code == 200
        assert answer.json()["status"] == "revoked"
    assert (await admin.get(f"/admin/keys/{key['key_id']}")).json()["status"] == "revoked"


async def test_unknown_keys_are_not_found(admin: httpx2.AsyncClient) -> None:
    for key_ref in ("key_0", "sk-gw-unknown"):
        for answer in (
            await admin.get(f"/admin/keys/{key_ref}"),
            await admin.patch(f"/admin/keys/{key_ref}", json={"name": "x"}),
            await admin.delete(f"/admin/keys/{key_ref}"),
        ):
            assert answer.status_code == 404
            assert key_ref not in answer.text
