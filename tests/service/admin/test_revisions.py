"""Merge patches, and `ETag` with `If-Match`, of accounts, keys and routes."""

import asyncio
from typing import Any

import httpx2
import pytest

from libs.common.storage.mongo.driver import Database
from tests.service.admin.conftest import NOW
from tests.service.admin.problems import wrong_fields

DEPLOYMENT = {"model": "openai/gpt-4o"}
ACCOUNT = "/admin/accounts/a"
LIMITS = {"requests_per_minute": 60, "parallel_calls": 4}


@pytest.fixture
async def paths(admin: httpx2.AsyncClient) -> dict[str, str]:
    """By the kind of object, with a harmless change for each."""
    account = {"user_id": "a", "limits": LIMITS, "metadata": {"team": "red", "site": "x"}}
    assert (await admin.post("/admin/accounts", json=account)).status_code == 201
    answer = await admin.post("/admin/keys", json={"user_id": "a", "limits": LIMITS})
    route = {"model": "house/best", "deployments": [DEPLOYMENT]}
    assert (await admin.post("/admin/models", json=route)).status_code == 201
    return {
        "account": ACCOUNT,
        "key": f"/admin/keys/{answer.json()['key_id']}",
        "route": "/admin/models/house/best",
    }


CHANGES: dict[str, list[dict[str, Any]]] = {
    "account": [{"name": "one"}, {"name": "two"}],
    "key": [{"name": "one"}, {"name": "two"}],
    "route": [{"max_attempts": 4}, {"max_attempts": 5}],
}


@pytest.mark.parametrize("kind", CHANGES)
async def test_a_change_over_another_revision_is_refused(
    admin: httpx2.AsyncClient, paths: dict[str, str], kind: str
) -> None:
    path, (one, two) = paths[kind], CHANGES[kind]
    etag = (await admin.get(path)).headers["etag"]
    first = await admin.patch(path, json=one, headers={"if-match": etag})
    assert first.status_code == 200, first.text
    second = await admin.patch(path, json=two, headers={"if-match": etag})
    assert second.status_code == 412
    assert second.json()["code"] == "precondition_failed"
    view = await admin.get(path)
    assert view.json().items() >= one.items()
    assert view.headers["etag"] == first.headers["etag"] != etag
    for tag in (f'"other", {first.headers["etag"]}', "*"):
        assert (await admin.patch(path, json=one, headers={"if-match": tag})).status_code == 200


@pytest.mark.parametrize("tag", ["nonsense", '"0"', 'W/"0"', '""'])
@pytest.mark.parametrize("kind", CHANGES)
async def test_an_etag_that_is_not_ours_matches_nothing(
    admin: httpx2.AsyncClient, paths: dict[str, str], kind: str, tag: str
) -> None:
    answer = await admin.patch(paths[kind], json=CHANGES[kind][0], headers={"if-match": tag})
    assert answer.status_code == 412


@pytest.mark.parametrize("kind", ["key", "route"])
async def test_a_deletion_may_name_what_it_has_seen(
    admin: httpx2.AsyncClient, paths: dict[str, str], kind: str
) -> None:
    path = paths[kind]
    etag = (await admin.get(path)).headers["etag"]
    await admin.patch(path, json=CHANGES[kind][0])
    assert (await admin.delete(path, headers={"if-match": etag})).status_code == 412
    etag = (await admin.get(path)).headers["etag"]
    assert (await admin.delete(path, headers={"if-match": etag})).is_success


async def test_a_price_is_ended_as_it_was_seen(admin: httpx2.AsyncClient) -> None:
    body = {"model": "m", "input_cost_per_million": 1, "output_cost_per_million": 2}
    answer = await admin.post("/admin/costs", json=body)
    path = f"/admin/costs/{answer.json()['price_id']}"
    etag = (await admin.get(path)).headers["etag"]
    assert etag == answer.headers["etag"]
    params = {"at": "2026-12-01"}
    first = await admin.delete(path, params=params, headers={"if-match": etag})
    assert first.status_code == 200
    assert (await admin.delete(path, headers={"if-match": etag})).status_code == 412
    view = await admin.get(path)
    assert view.json()["effective_until"] == first.json()["effective_until"]
    assert view.headers["etag"] == first.headers["etag"] != etag
    assert (await admin.delete(path, headers={"if-match": first.headers["etag"]})).is_success


async def test_an_import_is_undone_as_it_was_seen(admin: httpx2.AsyncClient) -> None:
    answer = await admin.post("/admin/costs/import", json={"model": "gpt-4o", "dry_run": False})
    path = f"/admin/costs/imports/{answer.json()['import_id']}"
    etag = (await admin.get(path)).headers["etag"]
    assert (await admin.delete(path, headers={"if-match": '"other"'})).status_code == 412
    assert (await admin.delete(path, headers={"if-match": etag})).status_code == 200
    assert (await admin.get(path)).headers["etag"] != etag
    assert (await admin.delete(path, headers={"if-match": etag})).status_code == 412


async def test_a_route_made_again_has_another_etag(
    admin: httpx2.AsyncClient, paths: dict[str, str]
) -> None:
    etag = (await admin.get(paths["route"])).headers["etag"]
    await admin.delete(paths["route"])
    route = {"model": "house/best", "deployments": [DEPLOYMENT]}
    answer = await admin.post("/admin/models", json=route)
    assert answer.headers["etag"] == (await admin.get(paths["route"])).headers["etag"] != etag


@pytest.mark.parametrize(("kind", "collection"), [("account", "accounts"), ("route", "routes")])
async def test_a_document_without_a_revision_can_be_changed(
    admin: httpx2.AsyncClient, database: Database, paths: dict[str, str], kind: str, collection: str
) -> None:
    await database[collection].update_many({}, {"$unset": {"revision": ""}})
    etag = (await admin.get(paths[kind])).headers["etag"]
    for status, change in zip((200, 412), CHANGES[kind], strict=True):
        answer = await admin.patch(paths[kind], json=change, headers={"if-match": etag})
        assert answer.status_code == status


async def test_concurrent_merges_are_all_kept(
    admin: httpx2.AsyncClient, paths: dict[str, str]
) -> None:
    names = ("requests_per_minute", "tokens_per_minute", "parallel_calls")
    answers = await asyncio.gather(
        *(admin.patch(paths["account"], json={"limits": {name: 7}}) for name in names)
    )
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert (await admin.get(paths["account"])).json()["limits"] == dict.fromkeys(names, 7)


@pytest.mark.parametrize("kind", ["account", "key"])
@pytest.mark.parametrize(
    ("change", "limits"),
    [
        ({"tokens_per_minute": 5000}, {**LIMITS, "tokens_per_minute": 5000}),
        ({"parallel_calls": None}, {"requests_per_minute": 60}),
        ({}, LIMITS),
        (None, {}),
    ],
)
async def test_limits_are_merged(
    admin: httpx2.AsyncClient, paths: dict[str, str], kind: str, change: Any, limits: dict[str, int]
) -> None:
    answer = await admin.patch(paths[kind], json={"limits": change})
    assert answer.status_code == 200, answer.text
    actual = {name: value for name, value in answer.json()["limits"].items() if value is not None}
    assert actual == limits


@pytest.mark.parametrize(
    ("change", "metadata"),
    [
        ({"team": "blue", "floor": "2"}, {"team": "blue", "site": "x", "floor": "2"}),
        ({"team": None, "unknown": None}, {"site": "x"}),
        (None, {}),
    ],
)
@pytest.mark.usefixtures("paths")
async def test_metadata_is_merged(
    admin: httpx2.AsyncClient, change: Any, metadata: dict[str, str]
) -> None:
    answer = await admin.patch(ACCOUNT, json={"metadata": change})
    assert answer.json()["metadata"] == metadata


@pytest.mark.usefixtures("paths")
async def test_merged_metadata_has_its_bound(admin: httpx2.AsyncClient) -> None:
    more = {f"k{n}": "v" for n in range(31)}
    answer = await admin.patch(ACCOUNT, json={"metadata": more})
    assert (answer.status_code, list(wrong_fields(answer))) == (422, ["metadata"])
    answer = await admin.patch(ACCOUNT, json={"metadata": {**more, "team": None}})
    assert answer.status_code == 200
    assert len(answer.json()["metadata"]) == 32


@pytest.mark.usefixtures("paths")
async def test_the_one_budget_is_merged(admin: httpx2.AsyncClient) -> None:
    missing = await admin.patch(ACCOUNT, json={"budget": {"soft_limit_usd": 1}})
    assert set(wrong_fields(missing)) == {"budget.limit_usd", "budget.period"}
    budget: dict[str, Any] = {
        "limit_usd": 10,
        "period": "monthly",
        "soft_limit_usd": 8,
        "alert_percents": [50],
    }
    for change, expected in (
        (budget, budget),
        ({"limit_usd": 20}, {**budget, "limit_usd": 20}),
        ({"soft_limit_usd": None}, {**budget, "limit_usd": 20, "soft_limit_usd": None}),
    ):
        answer = await admin.patch(ACCOUNT, json={"budget": change})
        assert answer.json()["budget"] == expected


async def test_a_revoked_key_stays_revoked(
    admin: httpx2.AsyncClient, paths: dict[str, str]
) -> None:
    await admin.delete(paths["key"])
    answer = await admin.patch(paths["key"], json={"status": "active", "name": "back"})
    assert (answer.status_code, list(wrong_fields(answer))) == (409, ["status"])
    view = (await admin.get(paths["key"])).json()
    assert (view["status"], view["name"]) == ("revoked", "")
    assert (await admin.patch(paths["key"], json={"name": "old"})).json()["name"] == "old"


async def test_an_expired_key_says_so(
    admin: httpx2.AsyncClient, database: Database, paths: dict[str, str]
) -> None:
    await database["keys"].update_many({}, {"$set": {"expires_at": NOW}})
    keys = (await admin.get("/admin/keys")).json()["data"]
    assert [key["status"] for key in keys] == ["expired"]
    assert (await admin.delete(paths["key"])).json()["status"] == "revoked"


SELECTOR = {"since": "2026-11-01T00:00:00Z", "until": "2026-12-01T00:00:00Z"}


async def test_unknown_accounts_and_models_are_not_found(admin: httpx2.AsyncClient) -> None:
    for path in ("keys", "recordings", "ledger/provider-costs", "usage"):
        answer = await admin.get(f"/admin/{path}?user_id=nobody")
        assert (answer.status_code, list(wrong_fields(answer))) == (404, ["user_id"])
    for wrong, field in (({"user_id": "nobody"}, "user_id"), ({"model": "x"}, "selector.model")):
        answer = await admin.post("/admin/ledger/reprice", json={"selector": SELECTOR | wrong})
        assert (answer.status_code, list(wrong_fields(answer))) == (404, [field])
