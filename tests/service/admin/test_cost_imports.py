"""`/admin/costs/import`."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.prices.price_book import PriceBook
from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.redis.client import Redis
from services.admin.settings import Settings
from tests.service.admin.price_maps import admin_with_map, make, map_file, row
from tests.service.admin.problems import wrong_fields
from tests.service.admin.test_accounts import exact
from tests.unit.builders import rates, tier

TIERED = row(input_cost_per_token_above_200k_tokens=2e-06, max_output_tokens=4_096)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rows = {"tiered": TIERED, "acme__plain": row(), "other": row("others"), "image": {"mode": "x"}}
    return map_file(tmp_path / "map.json", **rows)


@pytest.fixture
async def admin(
    settings: Settings, database: Database, redis: Redis, path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    async with admin_with_map(settings, database, redis, path) as client:
        yield client


async def import_map(admin: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    body = {"dry_run": False, **body}
    answer = await admin.post("/admin/costs/import", json=body)
    assert answer.status_code == (200 if body["dry_run"] else 201), answer.text
    view: dict[str, Any] = exact(answer)
    return view


def changes(view: dict[str, Any]) -> dict[str, str]:
    return {change["model"]: change["change"] for change in view["changes"]}


async def test_a_model_is_imported_at_the_maps_price(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    view = await import_map(admin, model="tiered")
    [change] = view["changes"]
    assert change == {
        "model": "tiered",
        "provider": "acme",
        "change": "new",
        "price_id": change["price_id"],
        "in_force": change["in_force"],
        "differences": {},
    }
    assert change["in_force"]["price_id"].startswith("litellm:tiered@")
    [version] = await PriceStore(database).versions_of(["tiered"])
    assert (version.price_id, version.source) == (change["price_id"], "litellm")
    assert (version.rates, version.max_output_tokens) == (rates(input="1", output="2"), 4_096)
    assert version.tiers == (tier(200_000, input="2", output="2"),)
    # From now on it is what a call is priced by, whatever another release of the map says.
    book = PriceBook(PriceStore(database), PriceMap(b"{}"))
    price_at = await book.of_models([("acme", "tiered")])
    assert price_at(("acme", "tiered"), datetime(2027, 1, 1, tzinfo=UTC)) == version


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, {"tiered", "acme/plain", "other"}),
        ({"provider": "acme"}, {"tiered", "acme/plain"}),
        ({"model": "plain", "provider": "acme"}, None),
        ({"model": "acme/plain"}, {"acme/plain"}),
        ({"model": "acme/tiered"}, {"tiered"}),
        ({"model": "tiered", "provider": "others"}, None),
        ({"model": "image"}, None),
        ({"provider": "nobody"}, None),
    ],
)
async def test_all_or_a_providers_or_one_model_is_imported(
    admin: httpx2.AsyncClient, body: dict[str, str], names: set[str] | None
) -> None:
    answer = await admin.post("/admin/costs/import", json=body)
    if names is None:
        assert answer.status_code == 404
    else:
        assert set(changes(answer.json())) == names
        assert answer.json()["new"] == answer.json()["models"] == len(names)


async def test_an_import_takes_surcharges_over(
    admin: httpx2.AsyncClient,
    settings: Settings,
    database: Database,
    redis: Redis,
    tmp_path: Path,
) -> None:
    older = map_file(tmp_path / "older.json", claude=row("anthropic"))
    async with admin_with_map(settings, database, redis, older) as before:
        await import_map(before)
    factors = {"us": 1.1, "fast": 2.0}
    newer = map_file(
        tmp_path / "newer.json", claude=row("anthropic", provider_specific_entry=factors)
    )
    async with admin_with_map(settings, database, redis, newer) as after:
        [change] = (await import_map(after, dry_run=True))["changes"]
        surcharges = {"us": Decimal("1.1"), "fast": 2}
        assert change["differences"] == {"surcharges": {"from": {}, "to": surcharges}}
        await import_map(after)
        assert (await import_map(after))["same"] == 1
    versions = await PriceStore(database).versions_of(["claude"])
    assert surcharges in [version.surcharges for version in versions]


async def test_a_dry_run_shows_the_differences_and_changes_nothing(
    admin: httpx2.AsyncClient,
    settings: Settings,
    database: Database,
    redis: Redis,
    tmp_path: Path,
) -> None:
    await import_map(admin, provider="acme")
    newer = map_file(tmp_path / "newer.json", tiered=row(), acme__plain=row(), added=row())
    async with admin_with_map(settings, database, redis, newer) as later:
        view = await import_map(later, dry_run=True)
        assert (view["dry_run"], view["new"], view["changed"], view["same"]) == (True, 1, 1, 1)
        assert changes(view) == {"tiered": "changed", "added": "new"}
        [changed] = [row for row in view["changes"] if row["change"] == "changed"]
        assert changed["price_id"] is None
        assert set(changed["differences"]) == {"tiers", "max_output_tokens"}
        assert changed["differences"]["max_output_tokens"] == {"from": 4_096, "to": None}
        assert await database["prices"].count_documents({}) == 2

        await import_map(later)
        assert await database["prices"].count_documents({}) == 4
        assert (await import_map(later))["same"] == 3
        assert await database["prices"].count_documents({}) == 4


async def test_two_rows_of_one_model_are_two_prices(
    settings: Settings, database: Database, redis: Redis, tmp_path: Path
) -> None:
    twice = map_file(tmp_path / "twice.json", chat=row(), acme__chat=row(max_output_tokens=7))
    async with admin_with_map(settings, database, redis, twice) as admin:
        assert changes(await import_map(admin)) == {"chat": "new", "acme/chat": "new"}
        assert (await import_map(admin))["same"] == 2


async def test_more_models_than_are_stored_at_once_are_imported(
    settings: Settings, database: Database, redis: Redis, tmp_path: Path
) -> None:
    many = map_file(tmp_path / "many.json", **{f"m{n}": row() for n in range(601)})
    async with admin_with_map(settings, database, redis, many) as admin:
        assert (await import_map(admin))["new"] == 601
        assert (await import_map(admin))["same"] == 601
    assert await database["prices"].count_documents({}) == 601


async def test_a_whole_provider_is_marked_up(admin: httpx2.AsyncClient, database: Database) -> None:
    await import_map(admin)
    view = await import_map(admin, provider="acme", multiplier=1.2)
    assert (view["changed"], view["same"]) == (2, 0)
    expected = {"multiplier": {"from": 1, "to": Decimal("1.2")}}
    assert all(change["differences"] == expected for change in view["changes"])
    versions = await PriceStore(database).versions_of(["tiered", "other"])
    assert sorted(version.multiplier for version in versions) == [1, 1, Decimal("1.2")]


@pytest.mark.parametrize("model", ["plain", "acme/plain"])
async def test_an_administrators_price_is_kept(
    admin: httpx2.AsyncClient, database: Database, model: str
) -> None:
    own = await make(admin, model=model, input_cost_per_million=9)
    view = await import_map(admin)
    assert (view["kept"], changes(view)["acme/plain"]) == (1, "kept")
    [kept] = [change for change in view["changes"] if change["change"] == "kept"]
    assert kept["in_force"] == {"price_id": own["price_id"], "source": "admin"}
    assert kept["differences"]["input_cost_per_million"] == {"from": 9, "to": 1}
    assert await database["prices"].count_documents({"source": "litellm"}) == 2


async def test_an_administrators_price_beats_an_import_that_is_newer(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await import_map(admin, model="tiered", effective_from="2026-12-01T00:00:00Z")
    own = await make(admin, model="tiered")
    book = PriceBook(PriceStore(database), PriceMap(b"{}"))
    price_at = await book.of_models([("acme", "tiered")])
    version = price_at(("acme", "tiered"), datetime(2027, 1, 1, tzinfo=UTC))
    assert version is not None
    assert version.price_id == own["price_id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"provider": "*"}, "provider"),
        ({"model": ""}, "model"),
        ({"multiplier": -1}, "multiplier"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"effective_from": "soon"}, "effective_from"),
        ({"models": []}, "models"),
    ],
)
async def test_invalid_fields_are_named(
    admin: httpx2.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await admin.post("/admin/costs/import", json=body)
    assert answer.status_code == 422
    assert set(wrong_fields(answer)) == {field}
