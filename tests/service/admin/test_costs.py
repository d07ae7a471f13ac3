"""`/admin/costs`."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from libs.common.domain.pricing import cost_of
from libs.common.schemas.price import Hours
from libs.common.schemas.usage import TokenUsage
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.redis.client import Redis
from services.admin.settings import Settings
from tests.service.admin.price_maps import BASE, admin_with_map, make, map_file, row
from tests.service.admin.problems import wrong_fields
from tests.service.admin.test_accounts import exact


@pytest.fixture
async def admin(
    settings: Settings, database: Database, redis: Redis, tmp_path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    """With a price map of one model, `mapped` of the provider `acme`."""
    path = map_file(tmp_path / "map.json", mapped=row())
    async with admin_with_map(settings, database, redis, path) as client:
        yield client


async def test_a_price_is_stored_as_given(admin: httpx2.AsyncClient, database: Database) -> None:
    body = """{
        "model": "claude-x", "provider": "anthropic", "aliases": ["claude-x-latest"],
        "input_cost_per_million": 3, "output_cost_per_million": 15.10,
        "cached_read_cost_per_million": 0.3, "cache_write_cost_per_million": 3.75,
        "cache_write_1h_cost_per_million": 6, "reasoning_cost_per_million": 0,
        "input_audio_cost_per_million": 0.000000000001, "input_image_cost_per_million": 1e2,
        "cache_write_30m_cost_per_million": 3.8, "cache_write_12h_cost_per_million": 7.5,
        "citation_cost_per_million": 2, "tool_fees": {"file_search": 0.0025, "container_1g": 0.030},
        "basis": "provider_reported",
        "output_audio_cost_per_million": 1000000, "output_image_cost_per_million": 7,
        "web_search_cost": 0.01, "web_search_per": "call", "max_output_tokens": 64000,
        "multiplier": 1.05, "surcharges": {"fast": 2, "us": 1.10},
        "effective_from": "2026-11-01T00:00:00+01:00",
        "tiers": [{"above_input_tokens": 200000, "input_cost_per_million": 6,
                   "output_cost_per_million": 22.5},
                  {"above_input_tokens": 0, "service_tier": "flex", "input_cost_per_million": 1.5,
                   "hours": [{"from": "16:30", "to": "24:00"},
                             {"from": "00:00", "to": "00:30", "weekdays": [7, 1]}],
                   "output_cost_per_million": 7.5, "cached_read_cost_per_million": 0}]
    }"""
    answer = await admin.post(
        "/admin/costs", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 201, answer.text
    version = exact(answer)
    price_id = version.pop("price_id")
    assert price_id.startswith("price_")
    sent = json.loads(body, parse_float=Decimal)
    unset = dict.fromkeys(name for name in sent if name.endswith("_per_million"))
    assert version == {
        **sent,
        "effective_from": "2026-10-31T23:00:00Z",
        "effective_until": None,
        "created_at": "2026-11-24T12:00:00Z",
        "source": "admin",
        "import_id": None,
        "made_by": "root",
        "ended_by": None,
        "inherits": None,
        "replaces": [],
        "tiers": [
            unset | {"service_tier": None, "hours": []} | sent["tiers"][0],
            unset
            | sent["tiers"][1]
            | {
                "hours": [
                    {"from": "16:30", "to": "24:00", "weekdays": [1, 2, 3, 4, 5, 6, 7]},
                    {"from": "00:00", "to": "00:30", "weekdays": [1, 7]},
                ]
            },
        ],
    }
    [stored] = await PriceStore(database).versions_of(["claude-x"])
    assert stored.price_id == price_id
    usage = TokenUsage(input_text=1_000_000, cache_read=1_000_000, reasoning=5, web_searches=2)
    # More than 200,000 tokens of input: the tier's rates, whose cached reads cost what input does.
    listed_nusd = 12_000_000_000 + 5 * 22_500 + 10_000_000
    assert cost_of(usage, stored).cost_nusd == listed_nusd * Decimal("1.05")
    assert stored.surcharges == {"fast": Decimal(2), "us": Decimal("1.1")}
    assert stored.tool_fees == {"file_search": Decimal("0.0025"), "container_1g": Decimal("0.03")}
    assert stored.tiers[1].hours == (
        Hours(from_minute=990, to_minute=1440),
        Hours(from_minute=0, to_minute=30, weekdays=(1, 7)),
    )


async def test_a_price_needs_three_fields(admin: httpx2.AsyncClient) -> None:
    version = await make(admin)
    assert version["provider"] == "*"
    assert version["effective_from"] == "2026-11-24T12:00:00Z"
    assert version["cached_read_cost_per_million"] is None
    assert (version["aliases"], version["tiers"], version["multiplier"]) == ([], [], 1)
    assert version["surcharges"] == {}


def at_hours(*hours: dict[str, Any]) -> dict[str, Any]:
    return {"tiers": [{**TIER, "hours": list(hours)}]}


NIGHT = {"from": "00:00", "to": "06:00"}
TIER = {"above_input_tokens": 1, "input_cost_per_million": 1, "output_cost_per_million": 1}


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"model": ""}, {"model"}),
        ({"model": " m"}, {"model"}),
        ({"model": "m" * 257}, {"model"}),
        ({"provider": "Open AI"}, {"provider"}),
        ({"aliases": ["m"]}, {"aliases"}),
        ({"aliases": ["x", "x"]}, {"aliases"}),
        ({"aliases": [str(n) for n in range(33)]}, {"aliases"}),
        ({"input_cost_per_million": None}, {"input_cost_per_million"}),
        ({"input_cost_per_million": -0.1}, {"input_cost_per_million"}),
        ({"input_cost_per_million": "inf"}, {"input_cost_per_million"}),
        ({"output_cost_per_million": 1_000_001}, {"output_cost_per_million"}),
        ({"output_cost_per_million": 1e-13}, {"output_cost_per_million"}),
        ({"cached_read_cost_per_million": "x"}, {"cached_read_cost_per_million"}),
        ({"multiplier": -1}, {"multiplier"}),
        ({"multiplier": 1000.1}, {"multiplier"}),
        ({"multiplier": "NaN"}, {"multiplier"}),
        ({"multiplier": 1.0000001}, {"multiplier"}),
        ({"web_search_per": "week"}, {"web_search_per"}),
        ({"surcharges": {"us": -1}}, {"surcharges"}),
        ({"surcharges": {"us": 1000.1}}, {"surcharges"}),
        ({"surcharges": {"us": 1.0000001}}, {"surcharges"}),
        ({"surcharges": {"US": 1.1}}, {"surcharges"}),
        ({"surcharges": {"": 1.1}}, {"surcharges"}),
        ({"surcharges": {"a.b": 1.1}}, {"surcharges"}),
        ({"surcharges": {f"r{n}": 1.1 for n in range(17)}}, {"surcharges"}),
        ({"surcharges": 1.1}, {"surcharges"}),
        ({"web_search_cost": -1, "max_output_tokens": 0}, {"web_search_cost", "max_output_tokens"}),
        ({"effective_from": "2026-11-01T00:00:00"}, {"effective_from"}),
        ({"tiers": [{}]}, {f"tiers[0].{name}" for name in TIER}),
        ({"tiers": [TIER, {**TIER, "above": 5}]}, {"tiers[1].above"}),
        ({"tiers": [TIER, {**TIER, "output_cost_per_million": -5}]}, None),
        ({"tiers": [TIER, TIER]}, {"tiers"}),
        ({"tiers": [{**TIER, "above_input_tokens": 0}]}, {"tiers"}),
        ({"tiers": [TIER, 5]}, {"tiers[1]"}),
        (at_hours({"from": "24:30", "to": "25:00"}), {f"tiers[0].hours[0].{n}" for n in NIGHT}),
        (at_hours({"from": "9:00", "to": "10:00"}), {"tiers[0].hours[0].from"}),
        (at_hours({"from": "22:00", "to": "06:00"}), {"tiers[0].hours"}),
        (at_hours({**NIGHT, "weekdays": [0]}), {"tiers[0].hours[0].weekdays"}),
        (at_hours({**NIGHT, "weekdays": [1, 1]}), {"tiers[0].hours[0].weekdays"}),
        (at_hours({**NIGHT, "weekdays": []}), {"tiers[0].hours[0].weekdays"}),
        (at_hours({**NIGHT, "zone": "UTC"}), {"tiers[0].hours[0].zone"}),
        (at_hours(*[NIGHT] * 17), {"tiers[0].hours"}),
        (
            {"tiers": [{**TIER, "hours": [NIGHT]}, {**TIER, "hours": [{**NIGHT, "to": "01:00"}]}]},
            {"tiers"},
        ),
        ({"tool_fees": {"file_search": -1}}, {"tool_fees"}),
        ({"tool_fees": {"web_search": 1}}, {"tool_fees"}),
        ({"tool_fees": {"File": 1}}, {"tool_fees"}),
        ({"tool_fees": {f"t{n}": 1 for n in range(33)}}, {"tool_fees"}),
        ({"basis": "hope"}, {"basis"}),
        ({"tiers": 5}, {"tiers"}),
        ({"tiers": [TIER] * 65}, {"tiers"}),
        ({"input_cost_per_token": 1, "source": "litellm"}, {"input_cost_per_token", "source"}),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_every_invalid_field_is_named(
    shared_admin: httpx2.AsyncClient,
    shared_database: Database,
    changes: dict[str, Any],
    fields: set[str] | None,
) -> None:
    answer = await shared_admin.post("/admin/costs", json={**BASE, **changes})
    assert answer.status_code == 422, answer.text
    expected = {"tiers[1].output_cost_per_million"} if fields is None else fields
    assert set(wrong_fields(answer)) == expected
    assert await shared_database["prices"].count_documents({}) == 0


async def test_a_change_is_a_new_version(admin: httpx2.AsyncClient) -> None:
    old = await make(admin, effective_from="2026-01-01T00:00:00Z")
    current = await make(admin, input_cost_per_million=5)
    later = await make(admin, effective_from="2027-01-01T00:00:00Z")
    own = await make(admin, provider="acme", effective_from="2025-01-01T00:00:00Z")
    await make(admin, model="other")
    params = {"model": "m", "history": "true"}
    page = (await admin.get("/admin/costs", params=params)).json()
    assert [(version["price_id"], version["in_force"]) for version in page["data"]] == [
        (later["price_id"], False),
        (current["price_id"], True),
        (old["price_id"], False),
        (own["price_id"], True),
    ]
    assert page["next_cursor"] is None


async def test_versions_are_listed_in_pages(admin: httpx2.AsyncClient) -> None:
    ids = {
        (await make(admin, effective_from=f"2026-0{n}-01T00:00:00Z"))["price_id"]
        for n in range(1, 6)
    }
    for params in ({}, {"model": "m"}):
        paged_ids: list[str] = []
        sizes = []
        query: dict[str, str] = {"limit": "2", "history": "true", **params}
        while True:
            page = (await admin.get("/admin/costs", params=query)).json()
            paged_ids += [version["price_id"] for version in page["data"]]
            sizes.append(len(page["data"]))
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert sizes == [2, 2, 1]
        assert len(paged_ids) == len(ids)
        assert set(paged_ids) == ids


@pytest.mark.parametrize("name", ["mapped", "acme/mapped"])
async def test_an_imported_price_is_shown_and_overridden(
    admin: httpx2.AsyncClient, name: str
) -> None:
    [imported] = (await admin.get("/admin/costs", params={"model": name})).json()["data"]
    assert (imported["source"], imported["in_force"]) == ("litellm", True)
    assert imported["input_cost_per_million"] == 1
    await make(admin, model="mapped")
    rows = (await admin.get("/admin/costs", params={"model": "mapped", "history": "true"})).json()[
        "data"
    ]
    assert [(v["source"], v["in_force"]) for v in rows] == [("admin", True), ("litellm", False)]


async def test_an_unknown_model_has_no_price(admin: httpx2.AsyncClient) -> None:
    page = (await admin.get("/admin/costs", params={"model": "unheard-of"})).json()
    assert page == {"data": [], "next_cursor": None, "previous_cursor": None}
