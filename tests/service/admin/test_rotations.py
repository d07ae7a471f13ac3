"""`POST /admin/keys/{api_key}/rotate`."""

import asyncio
from typing import Any

import httpx2
import pytest

from libs.common.domain.ids import secret_hash
from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.shared_cache import cached_item_key
from tests.service.admin.conftest import NOW
from tests.service.admin.problems import wrong_fields

BUDGETS = [{"limit_usd": 5, "period": "daily"}]


@pytest.fixture
async def key(admin: httpx2.AsyncClient) -> dict[str, Any]:
    await admin.post("/admin/accounts", json={"user_id": "a"})
    answer = await admin.post("/admin/keys", json={"user_id": "a", "budgets": BUDGETS})
    content: dict[str, Any] = answer.json()
    return content


async def rotate(admin: httpx2.AsyncClient, key: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = await admin.post(f"/admin/keys/{key['key_id']}/rotate", json=body)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    assert answer.headers["etag"] != ""
    return content


async def test_a_rotation_changes_the_secret_alone(
    admin: httpx2.AsyncClient, key: dict[str, Any], database: Database
) -> None:
    after = await rotate(admin, key, grace_s=3600)
    changed = {name for name, value in after.items() if value != key[name]}
    assert changed == {"prefix", "api_key", "old_secrets"}
    assert after["api_key"].startswith(after["prefix"])
    assert after["old_secrets"] == [{"prefix": key["prefix"], "until": "2026-11-24T13:00:00Z"}]
    for secret in (key["api_key"], after["api_key"]):
        view = await admin.get(f"/admin/keys/{secret}")
        assert view.json()["key_id"] == key["key_id"]
        assert secret not in view.text
        assert secret not in repr(await database["keys"].find_one({}))


async def test_gateways_forget_the_key_by_all_of_its_secrets(
    admin: httpx2.AsyncClient, key: dict[str, Any], redis: Redis
) -> None:
    first = await rotate(admin, key)
    await redis.flushall()
    second = await rotate(admin, first)
    secrets = [each["api_key"] for each in (key, first, second)]
    names = [cached_item_key("key", secret_hash(secret)) for secret in secrets]
    assert await redis.exists(*names) == 3
    await redis.flushall()
    await admin.delete(f"/admin/keys/{key['key_id']}")
    assert await redis.exists(*names) == 3


async def test_a_lost_answer_ends_no_secret_that_clients_hold(
    admin: httpx2.AsyncClient, key: dict[str, Any]
) -> None:
    last = [await rotate(admin, key) for _ in range(4)][-1]
    assert last["old_secrets"][0]["prefix"] == key["prefix"]
    path = f"/admin/keys/{key['key_id']}/rotate"
    answer = await admin.post(path)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    ended = await rotate(admin, key, grace_s=0)
    assert {old["until"] for old in ended["old_secrets"]} == {"2026-11-24T12:00:00Z"}


async def test_concurrent_rotations_are_all_kept(
    admin: httpx2.AsyncClient, key: dict[str, Any]
) -> None:
    rotations = await asyncio.gather(*(rotate(admin, key) for _ in range(3)))
    now = (await admin.get(f"/admin/keys/{key['key_id']}")).json()
    prefixes = {each["prefix"] for each in (key, *rotations)}
    assert {now["prefix"], *(old["prefix"] for old in now["old_secrets"])} == prefixes


@pytest.mark.parametrize("grace_s", [-1, 90 * 86_400 + 1, "1", 1.5])
async def test_a_grace_has_its_bounds(
    admin: httpx2.AsyncClient, key: dict[str, Any], grace_s: object
) -> None:
    path = f"/admin/keys/{key['key_id']}/rotate"
    answer = await admin.post(path, json={"grace_s": grace_s})
    assert (answer.status_code, list(wrong_fields(answer))) == (422, ["grace_s"])


async def test_a_stale_expired_revoked_or_unknown_key_is_not_rotated(
    admin: httpx2.AsyncClient, key: dict[str, Any], database: Database
) -> None:
    path = f"/admin/keys/{key['key_id']}"
    etag = (await admin.get(path)).headers["etag"]
    await admin.patch(path, json={"name": "other"})
    stale = await admin.post(f"{path}/rotate", headers={"if-match": etag})
    assert stale.status_code == 412
    await database["keys"].update_many({}, {"$set": {"expires_at": NOW}})
    assert (await admin.post(f"{path}/rotate")).status_code == 409
    await admin.delete(path)
    assert (await admin.post(f"{path}/rotate")).status_code == 409
    assert (await admin.post("/admin/keys/key_none/rotate")).status_code == 404
