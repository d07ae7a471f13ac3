"""`/admin/costs/import` with a price map of one's own, and `/admin/costs/imports`."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from libs.common.schemas.price import PriceVersion
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.prices.price_book import PriceBook
from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.redis.client import Redis
from services.admin.cost_imports import MAX_MAP_BYTES
from services.admin.settings import Settings
from tests.service.admin.price_maps import admin_with_map, make, map_file, row
from tests.service.admin.problems import wrong_fields
from tests.service.admin.test_accounts import exact

BEFORE = datetime(2026, 11, 24, 11, 0, tzinfo=UTC)
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DEARER: dict[str, Any] = {"input_cost_per_token": 3e-06}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return map_file(tmp_path / "map.json", chat=row(), acme__plain=row())


@pytest.fixture
async def admin(
    settings: Settings, database: Database, redis: Redis, path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    async with admin_with_map(settings, database, redis, path) as client:
        yield client


async def import_map(admin: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await admin.post("/admin/costs/import", json={"dry_run": False, **body})
    assert answer.status_code in (200, 201), answer.text
    view: dict[str, Any] = exact(answer)
    return view


async def price_at(database: Database, path: Path, model: str, at: datetime) -> PriceVersion | None:
    book = PriceBook(PriceStore(database), PriceMap.open(str(path)))
    return (await book.of_models([("acme", model)]))(("acme", model), at)


async def input_cost(
    database: Database, path: Path, model: str = "chat", at: datetime = NOON
) -> Decimal | None:
    price = await price_at(database, path, model, at)
    return None if price is None else price.rates.input


async def test_an_import_is_dry_by_default(admin: httpx2.AsyncClient, database: Database) -> None:
    for body in ({}, None, {"model": "chat"}):
        answer = await admin.post("/admin/costs/import", json=body)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["dry_run"], answer.json()["import_id"]) == (True, None)
    assert await database["prices"].count_documents({}) == 0


async def test_a_newer_map_is_compared_with_what_is_in_force_and_stored(
    admin: httpx2.AsyncClient, database: Database, path: Path
) -> None:
    newer = {"chat": row(**DEARER), "added": row()}
    preview = await import_map(admin, price_map=newer, dry_run=True)
    assert [(c["model"], c["in_force"] is None) for c in preview["changes"]] == [
        ("chat", False),
        ("added", True),
    ]
    [chat, added] = preview["changes"]
    assert chat["differences"] == {"input_cost_per_million": {"from": 1, "to": 3}}
    assert added["differences"] == {}
    assert await input_cost(database, path) == 1

    view = await import_map(admin, price_map=newer)
    assert (view["models"], view["new"]) == (2, 2)
    assert await input_cost(database, path) == 3
    assert await input_cost(database, path, "added") == 1
    version = await price_at(database, path, "added", NOON)
    assert version is not None
    assert (version.import_id, version.made_by) == (view["import_id"], "root")


async def test_an_import_is_undone_as_one(
    admin: httpx2.AsyncClient, database: Database, path: Path
) -> None:
    first = await import_map(admin, price_map={"chat": row(**DEARER)}, effective_from=BEFORE_TEXT)
    second = await import_map(
        admin, multiplier=1.5, price_map={"chat": row(input_cost_per_token=7e-6), "new": row()}
    )
    assert (second["changed"], second["new"]) == (1, 1)
    assert await input_cost(database, path) == 7
    own = await make(admin, model="own")

    undone = await admin.delete(f"/admin/costs/imports/{second['import_id']}")
    assert undone.status_code == 200, undone.text
    assert exact(undone) == {
        "import_id": second["import_id"],
        "versions": 2,
        "undone": True,
        "multiplier": Decimal("1.5"),
        "effective_from": "2026-11-24T12:00:00Z",
        "made_by": "root",
        "created_at": "2026-11-24T12:00:00Z",
    }
    # What the first import stored is back, and what had no price has none.
    assert await input_cost(database, path) == 3
    assert await input_cost(database, path, "new") is None
    assert await input_cost(database, path, "own") is not None
    assert (await admin.get(f"/admin/costs/{own['price_id']}")).status_code == 200

    again = await admin.delete(f"/admin/costs/imports/{second['import_id']}")
    assert exact(again) == exact(undone)
    await admin.delete(f"/admin/costs/imports/{first['import_id']}")
    # Then the bundled map applies again.
    assert await input_cost(database, path) == 1


BEFORE_TEXT = BEFORE.isoformat()


async def test_imports_are_listed_with_the_newest_first(admin: httpx2.AsyncClient) -> None:
    ids = [
        (await import_map(admin, price_map={"m": row(max_output_tokens=n)}))["import_id"]
        for n in (1, 2, 3)
    ]
    page = (await admin.get("/admin/costs/imports", params={"limit": 2})).json()
    assert [each["import_id"] for each in page["data"]] == [ids[2], ids[1]]
    rest = await admin.get("/admin/costs/imports", params={"cursor": page["next_cursor"]})
    assert [each["import_id"] for each in rest.json()["data"]] == [ids[0]]
    assert rest.json()["next_cursor"] is None
    view = await admin.get(f"/admin/costs/imports/{ids[1]}")
    assert view.json() == page["data"][1]
    assert view.json()["undone"] is False


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_import_is_not_found(admin: httpx2.AsyncClient, method: str) -> None:
    await make(admin, model="own")
    for import_id in ("import_0", "None", "$ne"):
        answer = await admin.request(method, f"/admin/costs/imports/{import_id}")
        assert answer.status_code == 404
        assert wrong_fields(answer).keys() == {"import_id"}


async def test_an_import_without_changes_is_not_stored(admin: httpx2.AsyncClient) -> None:
    await import_map(admin)
    assert (await import_map(admin))["import_id"] is None
    assert len((await admin.get("/admin/costs/imports")).json()["data"]) == 1


async def test_unpriced_rows_are_counted_and_unreadable_ones_named(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    rows: dict[str, Any] = {
        "good": row(),
        "picture": {"mode": "image_generation", "litellm_provider": "acme"},
        "rateless": {"mode": "chat", "litellm_provider": "acme"},
        "negative": row(input_cost_per_token=-1),
        "words": row(output_cost_per_token="a lot"),
        "list": [1],
        "gpt-*": row(),
        " spaced ": row(),
        "shouting": row(provider="ACME"),
        "x" * 300: row(),
    }
    view = await import_map(admin, price_map=rows)
    assert view["models"] == 1
    assert view["skipped"] == {"not_by_tokens": 1, "no_rates": 1, "unreadable": 7}
    messages = {row["path"]: row["message"] for row in view["unreadable"]}
    assert messages.keys() == {
        "price_map.negative.input_cost_per_token",
        "price_map.words.output_cost_per_token",
        "price_map.list",
        "price_map.gpt-*",
        "price_map. spaced ",
        "price_map.shouting.litellm_provider",
        f"price_map.{'x' * 256}",
    }
    assert all(messages.values())
    assert await database["prices"].count_documents({}) == 1


async def test_an_import_reports_undated_prices(admin: httpx2.AsyncClient) -> None:
    note = "Half of list until 2026-12-31; these are the list rates."
    view = await import_map(admin, price_map={"a": row(comment=note), "b": row()})
    assert view["undated"] == {"models": 1, "notes": [{"model": "a", "note": note}]}


async def test_the_changes_of_a_dry_run_come_in_pages(admin: httpx2.AsyncClient) -> None:
    rows = {f"m{n}": row() for n in range(5)} | {"chat": row(**DEARER)}
    models: list[str] = []
    body: dict[str, Any] = {"price_map": rows, "limit": 4}
    while True:
        page = await import_map(admin, dry_run=True, **body)
        models += [change["model"] for change in page["changes"]]
        if page["next_cursor"] is None:
            break
        body["cursor"] = page["next_cursor"]
    # What differs from the price in force comes first.
    assert models == ["chat", "m0", "m1", "m2", "m3", "m4"]
    view = await import_map(admin, price_map=rows, limit=4)
    assert (len(view["changes"]), view["new"], view["next_cursor"]) == (4, 6, None)
    answer = await admin.get(
        "/admin/costs", params={"import_id": view["import_id"], "history": "true", "limit": 200}
    )
    assert {version["model"] for version in answer.json()["data"]} == set(rows)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"price_map": []}, 422, "price_map"),
        ({"price_map": "map"}, 422, "price_map"),
        ({"price_map": {f"m{n}": 1 for n in range(20_001)}}, 422, "price_map"),
        ({"price_map": {"m": 5}}, 422, "price_map.m"),
        ({"price_map": {}}, 404, "provider"),
        ({"price_map": {"m": row()}, "model": "chat"}, 404, "model"),
        ({"price_map": {"m": row()}, "cursor": "x", "dry_run": True}, 400, "cursor"),
        ({"price_map": {"m": row()}, "cursor": "m"}, 422, "cursor"),
        ({"limit": 201}, 422, "limit"),
    ],
)
async def test_an_import_that_cannot_be_is_refused(
    admin: httpx2.AsyncClient, database: Database, body: dict[str, Any], status: int, field: str
) -> None:
    answer = await admin.post("/admin/costs/import", json={"dry_run": False, **body})
    assert answer.status_code == status, answer.text
    assert set(wrong_fields(answer)) == {field}
    assert await database["prices"].count_documents({}) == 0


async def test_a_map_may_be_larger_than_other_bodies_but_not_endless(
    admin: httpx2.AsyncClient,
) -> None:
    large = {"m": row(comment="x" * 2_000_000)}
    assert (await import_map(admin, price_map=large))["models"] == 1
    too_large = b'{"price_map": {"m": "' + b"x" * MAX_MAP_BYTES + b'"}}'
    answer = await admin.post(
        "/admin/costs/import", content=too_large, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413
