"""Admin keys with names and roles: who gets in, how far, and for how long."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from libs.common.domain.ids import ADMIN_SECRET_PREFIX, secret_hash
from libs.common.storage.mongo.driver import Database, open_database
from libs.common.storage.redis.client import Redis
from services.admin.settings import Settings
from services.admin.wrong_keys import PER_SOURCE
from tests.servers import mongo_server, running
from tests.service.admin.conftest import ADMIN_KEY, NOW, app_with, client_of
from tests.service.admin.problems import problem, wrong_fields

LATER = (NOW + timedelta(hours=1)).isoformat()


async def make_person(admin: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await admin.post("/admin/people", json={"name": "Ada", "role": "viewer", **fields})
    assert answer.status_code == 201, answer.text
    person: dict[str, Any] = answer.json()
    return person


def by(person: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {person['admin_key']}"}


async def test_a_secret_is_shown_once_and_stored_as_its_hash(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    person = await make_person(admin, role="operator", expires_at=LATER)
    secret = person.pop("admin_key")
    assert secret.startswith(ADMIN_SECRET_PREFIX)
    assert secret.startswith(person["prefix"])
    assert len(person["prefix"]) < 16
    path = f"/admin/people/{person['person_id']}"
    assert (await admin.get(path)).json() == person
    assert (await admin.get("/admin/people")).json()["data"] == [person]
    assert (person["created_by"], person["updated_by"]) == ("root", "root")
    document = await database["people"].find_one({"_id": person["person_id"]})
    assert document is not None
    assert document["secret_hash"] == secret_hash(secret)
    assert secret not in str(document)


async def test_a_person_knows_who_they_are(admin: httpx2.AsyncClient) -> None:
    person = await make_person(admin, name="Ada", role="billing")
    me = await admin.get("/admin/people/me", headers=by(person))
    assert me.json() == {
        "id": person["person_id"],
        "name": "Ada",
        "role": "billing",
        "accounts": None,
    }
    assert (await admin.get("/admin/people/me")).json()["role"] == "owner"


async def test_a_key_ends_at_once(admin: httpx2.AsyncClient) -> None:
    person = await make_person(admin)
    path = f"/admin/people/{person['person_id']}"
    assert (await admin.get("/admin/accounts", headers=by(person))).status_code == 200
    assert (await admin.delete(path)).json()["status"] == "revoked"
    refused = await admin.get("/admin/accounts", headers=by(person))
    assert refused.status_code == 401
    assert refused.json()["code"] == "api_key_revoked"
    again = await admin.patch(path, json={"status": "active"})
    assert again.status_code == 409


async def test_an_expired_key_says_so(admin: httpx2.AsyncClient, database: Database) -> None:
    person = await make_person(admin, expires_at=LATER)
    await database["people"].update_one({}, {"$set": {"expires_at": NOW}})
    refused = await admin.get("/admin/accounts", headers=by(person))
    assert refused.status_code == 401
    assert refused.json()["code"] == "api_key_expired"
    view = await admin.get(f"/admin/people/{person['person_id']}")
    assert view.json()["status"] == "expired"


WRITES = [
    ("POST", "/admin/accounts", {"user_id": "a"}, {"operator"}),
    ("POST", "/admin/ledger/corrections", {}, {"billing"}),
    ("POST", "/admin/costs", {}, {"billing"}),
    ("POST", "/admin/models", {}, {"operator"}),
    ("POST", "/admin/people", {"name": "x", "role": "viewer"}, set()),
    ("GET", "/admin/people", None, set()),
    ("GET", "/admin/accounts", None, {"viewer", "operator", "billing"}),
    ("GET", "/admin/costs", None, {"viewer", "operator", "billing"}),
]


@pytest.mark.parametrize("role", ["viewer", "operator", "billing", "owner"])
async def test_a_role_bounds_what_is_reached(admin: httpx2.AsyncClient, role: str) -> None:
    person = await make_person(admin, role=role)
    for method, path, body, allowed in WRITES:
        answer = await admin.request(method, path, json=body, headers=by(person))
        reached = role == "owner" or role in allowed
        assert (answer.status_code != 403) == reached, (method, path, answer.text)
        if not reached:
            error = problem(answer)
            assert error["code"] == "forbidden"
            assert "needs the role" in error["detail"]
            assert f"you are {role}" in error["detail"]


async def test_a_person_cannot_change_their_own_access(admin: httpx2.AsyncClient) -> None:
    owner = await make_person(admin, role="owner")
    path = f"/admin/people/{owner['person_id']}"
    for change in ({"role": "viewer"}, {"status": "revoked"}, {"expires_at": LATER}):
        assert (await admin.patch(path, json=change, headers=by(owner))).status_code == 403
    assert (await admin.delete(path, headers=by(owner))).status_code == 403
    renamed = await admin.patch(path, json={"name": "Grace"}, headers=by(owner))
    assert (renamed.json()["name"], renamed.json()["updated_by"]) == ("Grace", owner["person_id"])
    # The root always can, even where it ends the last owner.
    assert (await admin.delete(path)).status_code == 200
    assert (await admin.get("/admin/people")).status_code == 200


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"role": "admin"}, "role"),
        ({"role": None}, "role"),
        ({"name": ""}, "name"),
        ({"name": 1}, "name"),
        ({"name": "a" * 257}, "name"),
        ({"accounts": []}, "accounts"),
        ({"accounts": ["nobody"]}, "accounts"),
        ({"accounts": ["a", "a"]}, "accounts"),
        ({"accounts": [{"$ne": 1}]}, "accounts"),
        ({"accounts": ["a/b"]}, "accounts"),
        ({"expires_at": NOW.isoformat()}, "expires_at"),
        ({"secret_hash": "0"}, "secret_hash"),
        ({"role": "owner", "accounts": ["a"]}, "accounts"),
    ],
)
async def test_wrong_fields_are_named(
    admin: httpx2.AsyncClient, fields: dict[str, Any], wrong: str
) -> None:
    await admin.post("/admin/accounts", json={"user_id": "a"})
    body = {"name": "Ada", "role": "viewer", **fields}
    answer = await admin.post("/admin/people", json=body)
    assert answer.status_code == 422
    assert list(wrong_fields(answer)) == [wrong]
    assert (await admin.get("/admin/people")).json()["data"] == []


async def test_a_change_over_another_one_is_refused(admin: httpx2.AsyncClient) -> None:
    person = await make_person(admin)
    path = f"/admin/people/{person['person_id']}"
    etag = (await admin.get(path)).headers["etag"]
    first = await admin.patch(path, json={"role": "operator"}, headers={"if-match": etag})
    assert first.status_code == 200
    second = await admin.patch(path, json={"role": "billing"}, headers={"if-match": etag})
    assert second.status_code == 412
    assert (await admin.get(path)).json()["role"] == "operator"


async def test_guesses_are_limited_and_right_keys_are_not(admin: httpx2.AsyncClient) -> None:
    person = await make_person(admin)
    wrong = {"authorization": f"Bearer {ADMIN_SECRET_PREFIX}{'x' * 43}"}
    codes = [
        (await admin.get("/admin/accounts", headers=wrong)).status_code
        for _ in range(PER_SOURCE + 1)
    ]
    assert codes == [401] * PER_SOURCE + [429]
    assert (await admin.get("/admin/accounts", headers=by(person))).status_code == 200


@pytest.fixture
async def unreachable(
    settings: Settings, redis: Redis, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx2.AsyncClient]:
    """An admin service whose MongoDB has stopped since its start."""
    server = mongo_server(tmp_path_factory.mktemp("mongo"))
    with running(server) as mongo:
        database_context = open_database(mongo.url, operation_timeout_s=1)
        database = await database_context.__aenter__()
        client = client_of(app_with(settings, database, redis))
        admin = await client.__aenter__()
    yield admin
    await client.__aexit__(None, None, None)
    await database_context.__aexit__(None, None, None)


async def test_without_mongo_the_root_alone_is_known(unreachable: httpx2.AsyncClient) -> None:
    wrong = {"authorization": f"Bearer {ADMIN_SECRET_PREFIX}{'x' * 43}"}
    refused = await unreachable.get("/admin/people/me", headers=wrong)
    assert refused.status_code == 503
    right = {"authorization": f"Bearer {ADMIN_KEY}"}
    assert (await unreachable.get("/admin/people/me", headers=right)).status_code == 200


async def test_prices_and_keys_tell_who_made_and_changed_them(admin: httpx2.AsyncClient) -> None:
    ada, bo = await make_person(admin, role="owner"), await make_person(admin, role="owner")
    await admin.post("/admin/accounts", json={"user_id": "a"})
    key = (await admin.post("/admin/keys", json={"user_id": "a"}, headers=by(ada))).json()
    assert (key["created_by"], key["updated_by"]) == (ada["person_id"], ada["person_id"])
    path = f"/admin/keys/{key['key_id']}"
    for method, where, body, person in (
        ("PATCH", path, {"name": "x"}, bo),
        ("PATCH", path, {"name": "y"}, ada),
        ("POST", f"{path}/rotate", {}, bo),
        ("DELETE", path, None, ada),
    ):
        answer = await admin.request(method, where, json=body, headers=by(person))
        assert answer.json()["created_by"] == ada["person_id"]
        assert answer.json()["updated_by"] == person["person_id"]
    terms = {"model": "m", "input_cost_per_million": 1, "output_cost_per_million": 1}
    price = (await admin.post("/admin/costs", json=terms, headers=by(ada))).json()
    assert (price["made_by"], price["ended_by"]) == (ada["person_id"], None)
    ended = await admin.delete(f"/admin/costs/{price['price_id']}", headers=by(bo))
    assert (ended.json()["made_by"], ended.json()["ended_by"]) == (
        ada["person_id"],
        bo["person_id"],
    )
    forged = await admin.post("/admin/costs", json={**terms, "made_by": "somebody"})
    assert list(wrong_fields(forged)) == ["made_by"]
