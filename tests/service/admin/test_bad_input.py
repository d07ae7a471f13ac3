"""Bad input at every endpoint is refused by name, and changes nothing."""

import re
from typing import Any

import httpx2
import pytest

from libs.common.storage.mongo.driver import Database
from services.admin.endpoints import Endpoint
from services.admin.routes import ENDPOINTS
from tests.service.admin.problems import problem, wrong_fields

JSON = {"content-type": "application/json"}
_KEYED = [each for each in ENDPOINTS if each.role is not None]
_WITH_BODY = [each for each in _KEYED if each.body is not None]
_WITH_ID = [each for each in _KEYED if "{" in each.path]
_NOT_FOUND = {404, 405, 422}
_BODIES = [
    (b'{"\xff": 1}', 400),
    ('{"ü": 1}'.encode("utf-16"), 400),
    (b'{"a": "\\ud800"}', 400),
    (b"[]", 422),
    (b'"text"', 422),
    (b"null", 422),
    (b'{"$where": "sleep(1000)"}', 422),
]
_IDS = [
    "%7B%22$where%22:%221%22%7D",
    "$ne",
    "a%2Fb",
    "%C3%BC%20%F0%9F%98%80",
    "%FF",
    "%00",
    "x" * 3000,
    "..%2F..%2Fetc",
]


def params_of(endpoints: list[Endpoint]) -> list[Any]:
    return [pytest.param(each, id=f"{each.method} {each.path}") for each in endpoints]


async def send(
    admin: httpx2.AsyncClient,
    endpoint: Endpoint,
    *,
    value: str = "x",
    query: str = "",
    content: bytes = b"{}",
) -> httpx2.Response:
    path = re.sub(r"\{\w+(:path)?\}", lambda _: value, endpoint.path) + query
    if endpoint.body is None:
        return await admin.request(endpoint.method, path)
    return await admin.request(endpoint.method, path, content=content, headers=JSON)


async def document_counts(database: Database) -> dict[str, int]:
    """Documents by collection, without the log of writes, which has refused ones too."""
    names = [name for name in await database.list_collection_names() if "audit" not in name]
    return {name: await database[name].count_documents({}) for name in names}


@pytest.mark.parametrize("endpoint", params_of(_WITH_BODY))
@pytest.mark.asyncio(loop_scope="module")
async def test_a_body_without_its_own_objects_changes_nothing(
    shared_admin: httpx2.AsyncClient, shared_database: Database, endpoint: Endpoint
) -> None:
    before = await document_counts(shared_database)
    for content, status in _BODIES:
        answer = await send(shared_admin, endpoint, content=content)
        assert answer.status_code == status, (content, answer.text)
        document = problem(answer)
        if b"$where" in content:
            assert "$where" in wrong_fields(answer)
            assert document["errors"][0]["allowed"]
    assert await document_counts(shared_database) == before


@pytest.mark.parametrize("endpoint", params_of(_KEYED))
@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_parameter_is_refused(
    shared_admin: httpx2.AsyncClient, endpoint: Endpoint
) -> None:
    answer = await send(shared_admin, endpoint, query="?$where=1")
    assert answer.status_code == 422, answer.text
    assert "$where" in wrong_fields(answer)


@pytest.mark.parametrize("endpoint", params_of(_WITH_ID))
@pytest.mark.asyncio(loop_scope="module")
async def test_an_id_is_data(shared_admin: httpx2.AsyncClient, endpoint: Endpoint) -> None:
    """One that nothing has, whatever it looks like."""
    for value in _IDS:
        answer = await send(shared_admin, endpoint, value=value)
        if (endpoint.method, answer.status_code) == ("GET", 200):
            # A list of what belongs to an id may be empty.
            assert answer.json()["data"] == []
        else:
            assert answer.status_code in _NOT_FOUND, (value, answer.text)
            problem(answer)


BEYOND = ("9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00")


@pytest.mark.parametrize("time", BEYOND)
async def test_a_time_beyond_the_calendar_is_refused(admin: httpx2.AsyncClient, time: str) -> None:
    await admin.post("/admin/accounts", json={"user_id": "a"})
    writes = (
        ("keys", {"user_id": "a", "expires_at": time}),
        ("people", {"name": "a", "role": "viewer", "expires_at": time}),
        ("costs", {"model": "m", "input_cost_per_million": 1, "effective_from": time}),
    )
    for path, body in writes:
        answer = await admin.post(f"/admin/{path}", json=body)
        assert answer.status_code == 422, answer.text
    for path in ("usage", "audit", "alerts", "usage/export"):
        for name in ("since", "until"):
            answer = await admin.get(f"/admin/{path}", params={name: time})
            assert answer.status_code == 422, (path, answer.text)


SPANNED = ("usage", "audit", "alerts", "recordings", "usage/export", "ledger/provider-costs")


@pytest.mark.parametrize("path", SPANNED)
async def test_a_span_ends_after_it_begins(admin: httpx2.AsyncClient, path: str) -> None:
    first, last = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
    for since, until in ((last, first), (first, first)):
        answer = await admin.get(f"/admin/{path}", params={"since": since, "until": until})
        assert answer.status_code == 422, answer.text
        assert set(wrong_fields(answer)) == {"until"}
    for edge in ({"since": first}, {"since": last}, {"until": first}, {"until": last}):
        answer = await admin.get(f"/admin/{path}", params=edge)
        assert answer.status_code in (200, 422), (edge, answer.text)


async def test_entries_at_the_end_of_the_calendar_can_be_priced_again(
    admin: httpx2.AsyncClient,
) -> None:
    span = {"since": "9999-12-30T00:00:00Z", "until": "9999-12-31T00:00:00Z"}
    answer = await admin.post("/admin/ledger/reprice", json={"selector": span})
    assert (answer.status_code, answer.json()["entries_selected"]) == (200, 0)


@pytest.mark.parametrize("zone", ["posix/Europe/Berlin", "right/UTC", "posixrules", "localtime"])
async def test_a_zone_that_only_this_system_has_is_refused(
    admin: httpx2.AsyncClient, zone: str
) -> None:
    answer = await admin.post("/admin/accounts", json={"user_id": "a", "time_zone": zone})
    assert answer.status_code == 422
    query = {"zone": zone, "interval": "hour", "since": "2026-11-01", "until": "2026-11-02"}
    assert (await admin.get("/admin/usage/series", params=query)).status_code == 422


@pytest.mark.parametrize("name", ["foo/", "/foo", "/", ".", ".."])
async def test_a_route_has_a_name_that_a_path_can_end_with(
    admin: httpx2.AsyncClient, name: str
) -> None:
    body = {"model": name, "deployments": [{"model": "openai/gpt-4o"}]}
    assert (await admin.post("/admin/models", json=body)).status_code == 422
