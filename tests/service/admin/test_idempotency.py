"""`Idempotency-Key`: nothing is made twice, whenever the answer or the process was lost."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx2
import msgspec
import pytest

from libs.common.settings import Secret
from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from services.admin.settings import Settings
from tests.service.admin.conftest import ADMIN_KEY, NOW, app_with, client_of
from tests.service.admin.problems import wrong_fields

HEADERS = {"idempotency-key": "once-and-no-more"}
KEPT = "idempotent_requests"
PRICE = {"model": "m", "provider": "openai", "input_cost_per_million": 1}
PRICE |= {"output_cost_per_million": 2}
ROUTE = {"model": "house/best", "deployments": [{"model": "openai/gpt-4o"}]}
POSTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "account": ("/admin/accounts", {"user_id": "b"}, "accounts"),
    "key": ("/admin/keys", {"user_id": "a"}, "keys"),
    "price": ("/admin/costs", PRICE, "prices"),
    "route": ("/admin/models", ROUTE, "routes"),
    "person": ("/admin/people", {"name": "Ada", "role": "viewer"}, "people"),
    "rotation": ("/admin/keys/{key}/rotate", {}, "keys"),
}


async def keep_all(database: Database) -> None:
    """The server's own clock is ahead of the app's, so it would remove what the app has kept."""
    await database[KEPT].drop_index("ends_at_1")


@pytest.fixture
async def key(admin: httpx2.AsyncClient, database: Database) -> str:
    await keep_all(database)
    await admin.post("/admin/accounts", json={"user_id": "a"})
    answer = await admin.post("/admin/keys", json={"user_id": "a"})
    return str(answer.json()["key_id"])


async def post(
    admin: httpx2.AsyncClient, kind: str, key: str, status: int = 201, **fields: Any
) -> httpx2.Response:
    path, body, _ = POSTS[kind]
    answer = await admin.post(path.format(key=key), json=body | fields, headers=HEADERS)
    assert answer.status_code == (200 if (kind, status) == ("rotation", 201) else status)
    return answer


async def lose_answer(database: Database, lease: timedelta = timedelta(0)) -> None:
    """As if the process had died before it kept the answer."""
    lost = {"answer": None, "lease_until": NOW + lease}
    result = await database[KEPT].update_many({}, {"$set": lost})
    assert result.matched_count == 1


@pytest.mark.parametrize("kind", POSTS)
async def test_a_repeated_request_has_the_same_answer(
    admin: httpx2.AsyncClient, database: Database, key: str, kind: str
) -> None:
    first = await post(admin, kind, key)
    documents = await database[POSTS[kind][2]].find({}).to_list(None)
    again = await post(admin, kind, key)
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert again.headers.get("etag") == first.headers.get("etag")
    assert await database[POSTS[kind][2]].find({}).to_list(None) == documents


@pytest.mark.parametrize("kind", POSTS)
async def test_a_retry_after_a_crash_creates_no_second_object(
    admin: httpx2.AsyncClient, database: Database, key: str, kind: str
) -> None:
    first = await post(admin, kind, key)
    documents = await database[POSTS[kind][2]].find({}).to_list(None)
    await lose_answer(database)
    again = await post(admin, kind, key)
    assert "idempotent-replayed" not in again.headers
    assert await database[POSTS[kind][2]].find({}).to_list(None) == documents
    expected = {name: value for name, value in first.json().items() if name != "replaces"}
    assert again.json().items() >= expected.items()
    assert (await post(admin, kind, key)).content == again.content


@pytest.mark.parametrize("kind", ["account", "key", "price", "route", "person"])
async def test_a_retry_after_a_crash_creates_the_missing_object(
    admin: httpx2.AsyncClient, database: Database, key: str, kind: str
) -> None:
    first = await post(admin, kind, key)
    await lose_answer(database)
    await database[POSTS[kind][2]].delete_many({})
    again = await post(admin, kind, key)
    ids = {"user_id", "key_id", "api_key", "person_id", "admin_key", "price_id", "model"}
    for name in ids & first.json().keys():
        assert again.json()[name] == first.json()[name]
    assert await database[POSTS[kind][2]].count_documents({}) == 1


async def test_a_request_under_way_says_so(
    admin: httpx2.AsyncClient, database: Database, key: str
) -> None:
    await post(admin, "account", key)
    await lose_answer(database, timedelta(seconds=30))
    answer = await post(admin, "account", key, 409)
    assert answer.json()["code"] == "request_under_way"
    assert 1 <= int(answer.headers["retry-after"]) <= 2


async def test_of_concurrent_requests_one_makes_it(
    admin: httpx2.AsyncClient, database: Database, key: str
) -> None:
    path, body, _ = POSTS["key"]
    answers = await asyncio.gather(
        *(admin.post(path, json=body, headers=HEADERS) for _ in range(5))
    )
    secrets = {answer.json().get("api_key") for answer in answers if answer.status_code == 201}
    assert len(secrets) == 1
    others = [answer.json()["code"] for answer in answers if answer.status_code != 201]
    assert set(others) <= {"request_under_way"}
    assert await database["keys"].count_documents({}) == 2


async def test_other_parameters_are_a_conflict(
    admin: httpx2.AsyncClient, database: Database, key: str
) -> None:
    await post(admin, "account", key)
    for kind, fields in (("account", {"name": "other"}), ("key", {}), ("rotation", {})):
        answer = await post(admin, kind, key, 409, **fields)
        assert list(wrong_fields(answer)) == ["idempotency-key"]
    assert await database["accounts"].count_documents({}) == 2
    await database[KEPT].update_many({}, {"$set": {"ends_at": NOW}})
    await post(admin, "key", key)


async def test_a_refused_request_is_not_kept(
    admin: httpx2.AsyncClient, database: Database, key: str
) -> None:
    await post(admin, "account", key, 422, time_zone="Mars/Olympus")
    await post(admin, "key", key, 404, user_id="nobody")
    assert await database[KEPT].count_documents({}) == 0
    await post(admin, "key", key)


async def test_a_failed_request_may_be_repeated_at_once(
    admin: httpx2.AsyncClient, database: Database, key: str
) -> None:
    account = await database["accounts"].find_one({"_id": "a"})
    assert account is not None
    # Nobody but a bug writes such an account.
    await database["accounts"].replace_one({"_id": "a"}, {"_id": "a"})
    await post(admin, "key", key, 500)
    await database["accounts"].replace_one({"_id": "a"}, account)
    await post(admin, "key", key)


async def test_neither_secrets_nor_parameters_are_stored_readable(
    admin: httpx2.AsyncClient, database: Database, key: str
) -> None:
    answer = await post(admin, "key", key, name="a name that nobody reads")
    document = repr(await database[KEPT].find_one({}))
    for name in ("api_key", "prefix", "name", "key_id"):
        assert answer.json()[name] not in document
    assert HEADERS["idempotency-key"] not in document


async def test_another_root_key_cannot_show_the_answer(
    settings: Settings, database: Database, redis: Redis, admin: httpx2.AsyncClient, key: str
) -> None:
    new_key = (await post(admin, "key", key)).json()
    changed = Secret("another-admin-key-than-before")
    headers = {"authorization": f"Bearer {changed.reveal()}"}
    one = msgspec.structs.replace(settings, admin_api_key=changed)
    both = msgspec.structs.replace(one, admin_api_key_next=Secret(ADMIN_KEY))
    for these, status in ((one, 409), (both, 201)):
        async with client_of(app_with(these, database, redis)) as client:
            await keep_all(database)
            client.headers.update(headers)
            answer = await post(client, "key", key, status)
            assert (new_key["api_key"] in answer.text) == (status == 201)
    # Nor can the secret be made again: a lost key is told, and not made a second time.
    await lose_answer(database)
    async with client_of(app_with(both, database, redis)) as client:
        await keep_all(database)
        client.headers.update(headers)
        answer = await post(client, "key", key, 409)
    assert new_key["key_id"] in answer.json()["detail"]
    assert await database["keys"].count_documents({}) == 2


async def test_a_too_large_answer_is_reported(
    admin: httpx2.AsyncClient, database: Database, key: str
) -> None:
    await post(admin, "account", key)
    await database[KEPT].update_many({}, {"$set": {"answer.sealed": None}})
    answer = await post(admin, "account", key, 409)
    assert "was made before" in answer.json()["detail"]


@pytest.mark.parametrize("values", [[""], ["x" * 256], ["\xe9"], ["one", "two"]])
async def test_a_wrong_header_is_refused(admin: httpx2.AsyncClient, values: list[str]) -> None:
    headers = [(b"idempotency-key", value.encode("latin-1")) for value in values]
    answer = await admin.post("/admin/accounts", json={"user_id": "b"}, headers=headers)
    assert (answer.status_code, list(wrong_fields(answer))) == (
        422,
        ["idempotency-key"],
    )


async def test_methods_that_are_idempotent_take_no_notice(
    admin: httpx2.AsyncClient, database: Database, key: str
) -> None:
    for name in ("one", "two"):
        path = f"/admin/keys/{key}"
        changed = await admin.patch(path, json={"name": name}, headers=HEADERS)
        assert changed.json()["name"] == name
    assert await database[KEPT].count_documents({}) == 0
