"""`provider_objects` of accounts, keys and routes: what of the operator's they may name."""

from typing import Any

import httpx2
import pytest

from tests.service.admin.problems import wrong_fields

NEW: dict[str, dict[str, Any]] = {
    "/admin/accounts": {"user_id": "b"},
    "/admin/keys": {"user_id": "a"},
    "/admin/models": {"model": "house", "deployments": [{"model": "openai/gpt-4o"}]},
}
_IDS = {"/admin/accounts": "user_id", "/admin/keys": "key_id", "/admin/models": "model"}
GRANTS = ["file-abc123", "vs_*", "connector_gmail", "x" * 256]
_each = pytest.mark.parametrize("path", NEW)


@pytest.fixture(autouse=True)
async def account(admin: httpx2.AsyncClient) -> None:
    await admin.post("/admin/accounts", json={"user_id": "a"})


async def make(admin: httpx2.AsyncClient, path: str, **fields: Any) -> str:
    """Where it is shown and changed."""
    answer = await admin.post(path, json={**NEW[path], **fields})
    assert answer.status_code == 201, answer.text
    assert answer.json()["provider_objects"] == fields.get("provider_objects", [])
    return f"{path}/{answer.json()[_IDS[path]]}"


@_each
async def test_grants_are_stored_changed_and_revoked(admin: httpx2.AsyncClient, path: str) -> None:
    place = await make(admin, path, provider_objects=GRANTS)
    assert (await admin.get(place)).json()["provider_objects"] == GRANTS

    for grants in (["file-other"], []):
        changed = await admin.patch(place, json={"provider_objects": grants})
        assert changed.status_code == 200, changed.text
        assert changed.json()["provider_objects"] == grants
        assert (await admin.get(place)).json()["provider_objects"] == grants


@_each
async def test_nothing_is_granted_by_default(admin: httpx2.AsyncClient, path: str) -> None:
    place = await make(admin, path)
    assert (await admin.get(place)).json()["provider_objects"] == []


INVALID: list[Any] = [
    "file-abc",
    [""],
    ["x" * 257],
    ["file abc"],
    ["file-\u00e9"],
    ["file-\n"],
    ["same", "same"],
    [5],
    [f"file-{n}" for n in range(257)],
    None,
]


@_each
async def test_invalid_grants_are_rejected(admin: httpx2.AsyncClient, path: str) -> None:
    place = await make(admin, path)
    for grants in INVALID:
        for answer in (
            await admin.post(path, json={**NEW[path], "provider_objects": grants}),
            await admin.patch(place, json={"provider_objects": grants}),
        ):
            assert answer.status_code == 422, (grants, answer.text)
            assert "provider_objects" in wrong_fields(answer), grants
