"""Which version of a price counts, and when."""

from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.prices.price_book import PriceBook
from libs.common.storage.prices.price_map import PriceMap
from tests.service.admin.price_maps import make
from tests.service.admin.problems import wrong_fields

LATER = datetime(2027, 6, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


async def price_ids(admin: httpx2.AsyncClient, **params: str) -> list[str]:
    answer = await admin.get("/admin/costs", params=params)
    assert answer.status_code == 200, answer.text
    return [version["price_id"] for version in answer.json()["data"]]


async def priced_by(database: Database, at: datetime, model: str = "m") -> str | None:
    """What the ledger worker prices a call by that started then."""
    book = PriceBook(PriceStore(database), PriceMap(b"{}"))
    version = (await book.of_models([("acme", model)]))(("acme", model), at)
    return None if version is None else version.price_id


async def test_the_list_shows_what_is_in_force(admin: httpx2.AsyncClient) -> None:
    await make(admin, effective_from="2026-01-01T00:00:00Z")
    current = await make(admin)
    future = await make(admin, effective_from="2027-01-01T00:00:00Z")
    own = await make(admin, provider="acme")
    other = await make(admin, model="other")

    assert await price_ids(admin) == [current["price_id"], own["price_id"], other["price_id"]]
    # Of one model: the newest first.
    assert await price_ids(admin, model="m") == [own["price_id"], current["price_id"]]
    at_that_time = await price_ids(admin, model="m", at="2027-06-01T00:00:00Z")
    assert at_that_time == [future["price_id"], own["price_id"]]
    assert await price_ids(admin, at="2025-06-01T00:00:00Z") == []
    assert len(await price_ids(admin, history="true")) == 5


async def test_the_list_of_all_models_comes_in_pages(admin: httpx2.AsyncClient) -> None:
    for name in "cab":
        await make(admin, model=name)
        await make(admin, model=name, provider="acme")
    first = (await admin.get("/admin/costs", params={"limit": "2"})).json()
    assert [version["model"] for version in first["data"]] == ["a", "a", "b", "b"]
    second = (
        await admin.get("/admin/costs", params={"limit": "2", "cursor": first["next_cursor"]})
    ).json()
    assert [version["model"] for version in second["data"]] == ["c", "c"]
    assert second["next_cursor"] is None


async def test_an_ended_version_is_out_of_force_and_so_is_its_predecessor(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    old = await make(admin, effective_from="2026-01-01T00:00:00Z")
    price_id = (await make(admin, effective_from="2026-06-01T00:00:00Z"))["price_id"]
    answer = await admin.delete(f"/admin/costs/{price_id}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["effective_until"] == "2026-11-24T12:00:00Z"

    assert await price_ids(admin) == []
    assert await priced_by(database, NOON) is None
    # Whatever started before is priced as it was.
    assert await priced_by(database, datetime(2026, 11, 24, 11, 59, tzinfo=UTC)) == price_id
    assert await priced_by(database, datetime(2026, 3, 1, tzinfo=UTC)) == old["price_id"]
    new = await make(admin)
    assert await price_ids(admin) == [new["price_id"]]


async def test_a_versions_end_can_be_moved_earlier_but_not_later(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    price_id = (await make(admin))["price_id"]
    for at, until in (("2027-06-01", "2027-06-01"), ("2027-01-01", "2027-01-01")):
        answer = await admin.delete(f"/admin/costs/{price_id}", params={"at": f"{at}T00:00:00Z"})
        assert answer.json()["effective_until"] == f"{until}T00:00:00Z"
    answer = await admin.delete(f"/admin/costs/{price_id}", params={"at": "2028-01-01T00:00:00Z"})
    assert answer.json()["effective_until"] == "2027-01-01T00:00:00Z"
    assert await priced_by(database, NOON) == price_id
    assert await priced_by(database, LATER) is None


async def test_a_version_that_has_not_begun_never_does(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    current = await make(admin)
    future = await make(admin, effective_from="2027-01-01T00:00:00Z")
    answer = await admin.delete(f"/admin/costs/{future['price_id']}")
    assert answer.json()["effective_until"] == "2027-01-01T00:00:00Z"
    # As if it had never been: the price that it would have taken over from goes on.
    assert await priced_by(database, LATER) == current["price_id"]


@pytest.mark.parametrize("price_id", ["price_0", "litellm:gpt-4o@0", "litellm:a/b@0"])
async def test_only_a_version_of_an_administrator_can_be_ended(
    admin: httpx2.AsyncClient, price_id: str
) -> None:
    answer = await admin.delete(f"/admin/costs/{price_id}")
    assert answer.status_code == 404
    assert "bundled map" in answer.json()["detail"]


@pytest.mark.parametrize("params", [{"at": "2026-11-24T11:59:59Z"}, {"at": "x"}, {"until": "x"}])
async def test_an_end_in_the_past_is_rejected(
    admin: httpx2.AsyncClient, database: Database, params: dict[str, Any]
) -> None:
    price_id = (await make(admin))["price_id"]
    answer = await admin.delete(f"/admin/costs/{price_id}", params=params)
    assert answer.status_code == 422
    assert set(wrong_fields(answer)) == set(params)
    assert await priced_by(database, NOON) == price_id


async def test_an_alias_missing_from_the_next_version_is_unpriced(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    first = await make(admin, aliases=["m-latest"], effective_from="2026-01-01T00:00:00Z")
    assert await priced_by(database, NOON, "m-latest") == first["price_id"]
    await make(admin)
    assert await priced_by(database, NOON, "m-latest") is None
    assert await price_ids(admin, model="m-latest") == []
    assert await price_ids(admin, model="m-latest", history="true") == [first["price_id"]]
