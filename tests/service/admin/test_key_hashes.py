"""Keys whose secret was made elsewhere: `POST /admin/keys` with `key_sha256`."""

import asyncio
from collections import Counter
from typing import Any

import httpx2
import pytest

from libs.common.domain.ids import secret_hash
from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.shared_cache import cached_item_key
from tests.service.admin.problems import problem, wrong_fields
from tests.service.admin.test_people import by, make_person

SECRET = "sk-1234 made by another gateway"
HASH = secret_hash(SECRET)


@pytest.fixture(autouse=True)
async def account(admin: httpx2.AsyncClient) -> None:
    await admin.post("/admin/accounts", json={"user_id": "a"})


async def create(admin: httpx2.AsyncClient, **fields: Any) -> httpx2.Response:
    return await admin.post("/admin/keys", json={"user_id": "a", "key_sha256": HASH, **fields})


async def test_the_hash_is_stored_but_never_shown(
    admin: httpx2.AsyncClient,
    database: Database,
    redis: Redis,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = await create(admin, key_sha256=HASH.upper(), name="moved", allowed_models=["m"])
    assert answer.status_code == 201, answer.text
    key = answer.json()
    assert key.pop("api_key") is None
    assert (key["prefix"], key["allowed_models"]) == (f"sha256:{HASH[:6]}", ["m"])
    document = await database["keys"].find_one({"_id": key["key_id"]})
    assert document is not None
    assert document["secret_hash"] == HASH
    # Gateways that had it as unknown are told.
    assert await redis.exists(cached_item_key("key", HASH)) == 1
    for key_ref in (key["key_id"], SECRET.replace(" ", "%20"), HASH, HASH.upper()):
        view = await admin.get(f"/admin/keys/{key_ref}")
        assert view.json() == key, key_ref
    page = await admin.get("/admin/keys", params={"prefix": key["prefix"]})
    assert [row["key_id"] for row in page.json()["data"]] == [key["key_id"]]
    records = (await admin.get("/admin/audit", params={"kind": "keys"})).text
    assert '"create_key"' in records
    output = answer.text + page.text + records + "".join(capsys.readouterr())
    assert HASH not in output.lower()


async def test_a_secret_in_a_request_path_is_not_recorded(
    admin: httpx2.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    await create(admin)
    for key_ref in (HASH, SECRET.replace(" ", "%20"), "f" * 64):
        await admin.patch(f"/admin/keys/{key_ref}", json={"name": "x"})
    records = (await admin.get("/admin/audit", params={"limit": 100})).text
    output = records + "".join(capsys.readouterr())
    assert '"change_key"' in records
    assert [text for text in (HASH, SECRET, "f" * 64) if text in output] == []


async def test_only_an_owner_tells_a_hash(admin: httpx2.AsyncClient, database: Database) -> None:
    operator = by(await make_person(admin, role="operator"))
    body = {"user_id": "a", "key_sha256": HASH}
    refused = await admin.post("/admin/keys", json=body, headers=operator)
    assert refused.status_code == 403
    assert "role owner" in problem(refused)["detail"]
    assert await database["keys"].count_documents({}) == 0
    owner = by(await make_person(admin, role="owner"))
    assert (await admin.post("/admin/keys", json=body, headers=owner)).status_code == 201


async def test_a_hash_belongs_to_one_key(admin: httpx2.AsyncClient, database: Database) -> None:
    answers = await asyncio.gather(*(create(admin) for _ in range(4)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 3}
    (key,) = [answer.json() for answer in answers if answer.status_code == 201]
    await admin.post(f"/admin/keys/{HASH}/rotate", json={"grace_s": 3600})
    again = await create(admin)
    assert again.status_code == 409
    assert wrong_fields(again) == {
        "key_sha256": f"The key '{key['key_id']}' has this secret, or had it."
    }
    assert HASH not in again.text
    minted = (await admin.post("/admin/keys", json={"user_id": "a"})).json()
    refused = await create(admin, key_sha256=secret_hash(minted["api_key"]))
    assert minted["key_id"] in refused.text
    assert await database["keys"].count_documents({}) == 2


async def test_a_repeated_request_makes_one_key(admin: httpx2.AsyncClient) -> None:
    admin.headers["idempotency-key"] = "move-1"
    first, second = await create(admin), await create(admin)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()


@pytest.mark.parametrize(
    "given", ["", "sk-secret", "g" * 64, HASH[:-1], HASH + "0", f"{HASH}\n", "٣" * 64, 5, [HASH]]
)
async def test_an_invalid_hash_is_refused_and_not_repeated(
    admin: httpx2.AsyncClient, database: Database, given: object
) -> None:
    answer = await create(admin, key_sha256=given)
    assert answer.status_code == 422
    assert set(wrong_fields(answer)) == {"key_sha256"}
    assert "sk-secret" not in answer.text
    assert await database["keys"].count_documents({}) == 0
