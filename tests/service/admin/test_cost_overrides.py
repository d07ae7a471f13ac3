"""`POST /admin/costs` over a price that is there: what it takes away, and what it keeps."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from services.admin.settings import Settings
from tests.service.admin.price_maps import BASE, admin_with_map, make, map_file, row
from tests.service.admin.problems import wrong_fields
from tests.service.admin.test_accounts import exact

RICH: dict[str, Any] = {
    "cache_read_input_token_cost": 1e-07,
    "input_cost_per_token_above_200k_tokens": 3e-06,
    "output_cost_per_token_priority": 4e-06,
    "search_context_cost_per_query": {"search_context_size_medium": 0.025},
    "max_output_tokens": 4_096,
}
LOST = {
    "cached_read_cost_per_million": Decimal("0.1"),
    "web_search_cost": Decimal("0.025"),
    "max_output_tokens": 4_096,
    "tiers": [
        {"above_input_tokens": 0, "service_tier": "priority"},
        {"above_input_tokens": 200_000, "service_tier": None},
        {"above_input_tokens": 200_000, "service_tier": "priority"},
    ],
}


@pytest.fixture
async def admin(
    settings: Settings, database: Database, redis: Redis, tmp_path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    rows = {"rich": row(**RICH), "elsewhere__rich": row("elsewhere"), "anthropic__c": row("c")}
    async with admin_with_map(settings, database, redis, map_file(tmp_path / "m", **rows)) as one:
        yield one


async def post(admin: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await admin.post("/admin/costs", json=fields)
    assert answer.status_code == 201, answer.text
    version: dict[str, Any] = exact(answer)
    return version


def by_tier(version: dict[str, Any]) -> list[dict[str, Any]]:
    tiers = [
        {k: tier[k] for k in ("above_input_tokens", "service_tier")} for tier in version["tiers"]
    ]
    return sorted(tiers, key=lambda tier: (tier["above_input_tokens"], tier["service_tier"] or ""))


async def test_a_plain_override_says_what_it_takes_away(admin: httpx2.AsyncClient) -> None:
    version = await post(admin, **{**BASE, "model": "rich"})
    assert version["inherits"] is None
    rich, elsewhere = sorted(version["replaces"], key=lambda each: len(each["price_id"]))
    assert rich["price_id"].startswith("litellm:rich@")
    # `acme` has the row of that very name; other providers' calls lose their own price.
    assert rich["providers"] == ["acme"]
    assert {**rich["takes_away"], "tiers": by_tier(rich["takes_away"])} == LOST
    assert (elsewhere["model"], elsewhere["providers"]) == ("elsewhere/rich", ["elsewhere"])
    assert elsewhere["takes_away"] == {}


async def test_inherit_keeps_what_is_not_given(admin: httpx2.AsyncClient) -> None:
    version = await post(admin, model="rich", inherit=True, input_cost_per_million=9)
    assert version["inherits"].startswith("litellm:rich@")
    assert version["input_cost_per_million"] == 9
    assert version["output_cost_per_million"] == 2
    for name in ("cached_read_cost_per_million", "web_search_cost", "max_output_tokens"):
        assert version[name] == LOST[name]
    assert by_tier(version) == LOST["tiers"]
    [own] = [each for each in version["replaces"] if each["providers"] == ["acme"]]
    assert own["takes_away"] == {}

    # Null takes one term away, and the answer says so.
    next_version = await post(admin, model="rich", inherit=True, web_search_cost=None, tiers=[])
    assert next_version["inherits"] == version["price_id"]
    assert (next_version["input_cost_per_million"], next_version["web_search_cost"]) == (9, None)
    [own] = [each for each in next_version["replaces"] if "acme" in each["providers"]]
    assert own["price_id"] == version["price_id"]
    assert own["takes_away"].keys() == {"web_search_cost", "tiers"}


async def test_a_version_for_a_provider_inherits_from_what_its_calls_cost(
    admin: httpx2.AsyncClient,
) -> None:
    own = await post(admin, model="elsewhere/rich", provider="elsewhere", inherit=True)
    assert own["inherits"].startswith("litellm:elsewhere/rich@")
    assert (own["tiers"], own["input_cost_per_million"]) == ([], 1)
    # A price for all providers takes nothing from one that has its own by that name.
    await make(admin, model="rich", provider="elsewhere")
    version = await post(admin, **{**BASE, "model": "rich"})
    assert [each["providers"] for each in version["replaces"]] == [["acme"]]


async def test_multiplier_surcharges_and_aliases_are_kept_too(admin: httpx2.AsyncClient) -> None:
    fees = {"file_search": 0.5, "x": 0}
    terms = {
        "multiplier": 1.5,
        "tool_fees": fees,
        "surcharges": {"fast": 2, "us": 1.1},
        "aliases": ["latest"],
        "basis": "provider_reported",
    }
    await make(admin, **terms)
    lost = (await post(admin, **{**BASE, "surcharges": {"us": 1.1}}))["replaces"][0]["takes_away"]
    assert lost == {
        "multiplier": Decimal("1.5"),
        "surcharges": {"fast": 2},
        "tool_fees": {"file_search": Decimal("0.5"), "x": 0},
        "basis": "provider_reported",
        "aliases": ["latest"],
    }
    await make(admin, **terms)
    version = await post(admin, model="m", inherit=True, output_cost_per_million=5)
    assert (version["multiplier"], version["aliases"]) == (Decimal("1.5"), ["latest"])
    assert version["surcharges"] == {"fast": 2, "us": Decimal("1.1")}
    # Another model does not go by the names of the one that it inherits from.
    other = await post(admin, model="latest", inherit=True)
    assert (other["aliases"], other["output_cost_per_million"]) == ([], 5)


async def test_an_override_of_an_alias_is_reported(admin: httpx2.AsyncClient) -> None:
    version = await post(admin, **{**BASE, "aliases": ["rich"]})
    assert {each["price_id"].partition("@")[0] for each in version["replaces"]} == {
        "litellm:rich",
        "litellm:elsewhere/rich",
    }


async def test_a_price_for_later_is_compared_with_what_is_in_force_then(
    admin: httpx2.AsyncClient,
) -> None:
    await make(admin, web_search_cost=1, effective_from="2027-01-01T00:00:00Z")
    assert (await post(admin, **BASE))["replaces"] == []
    later = await post(admin, **BASE, effective_from="2027-02-01T00:00:00Z")
    assert [each["takes_away"] for each in later["replaces"]] == [{"web_search_cost": 1}]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"model": "unheard-of", "inherit": True}, {"inherit"}),
        ({"model": "ri*", "inherit": True}, {"inherit"}),
        ({"model": "rich", "provider": "nobody", "inherit": True}, {"inherit"}),
        ({"model": "rich"}, {"input_cost_per_million", "output_cost_per_million"}),
        ({"model": "rich", "input_cost_per_million": 1}, {"output_cost_per_million"}),
        ({"model": "rich", "inherit": "yes"}, {"inherit"}),
        ({"model": "rich", "inherit": True, "input_cost_per_million": None}, None),
    ],
)
async def test_an_override_that_cannot_be_is_refused(
    admin: httpx2.AsyncClient, database: Database, body: dict[str, Any], fields: set[str] | None
) -> None:
    answer = await admin.post("/admin/costs", json=body)
    assert answer.status_code == 422, answer.text
    assert set(wrong_fields(answer)) == (fields or {"input_cost_per_million"})
    assert await database["prices"].count_documents({}) == 0


async def test_a_pattern_replaces_what_is_named_nowhere(admin: httpx2.AsyncClient) -> None:
    assert (await post(admin, **{**BASE, "model": "ri*"}))["replaces"] == []


async def test_one_version_is_shown_by_its_id(admin: httpx2.AsyncClient) -> None:
    old = await make(admin, model="rich", effective_from="2026-01-01T00:00:00Z")
    new = await make(admin, model="rich", input_cost_per_million=4)
    view = exact(await admin.get(f"/admin/costs/{new['price_id']}"))
    assert (view["price_id"], view["in_force"]) == (new["price_id"], True)
    assert view["made_by"] == "root"
    assert view["bundled"]["price_id"].startswith("litellm:rich@")
    assert view["bundled"]["differences"]["input_cost_per_million"] == {"from": 1, "to": 4}
    assert set(view["bundled"]["differences"]) == {"input_cost_per_million", *LOST}
    assert (await admin.get(f"/admin/costs/{old['price_id']}")).json()["in_force"] is False

    row_id = view["bundled"]["price_id"]
    bundled = (await admin.get(f"/admin/costs/{row_id}")).json()
    assert (bundled["price_id"], bundled["in_force"]) == (row_id, False)
    assert bundled["bundled"] == {"price_id": row_id, "differences": {}}
    qualified = await make(admin, model="m")
    assert (await admin.get(f"/admin/costs/{qualified['price_id']}")).json()["bundled"] is None


@pytest.mark.parametrize(
    "price_id", ["price_0", "litellm:rich@0", "litellm:", "@", "litellm:x/y@1"]
)
async def test_an_unknown_version_is_not_found(admin: httpx2.AsyncClient, price_id: str) -> None:
    answer = await admin.get(f"/admin/costs/{price_id}")
    assert answer.status_code == 404
    assert set(wrong_fields(answer)) == {"price_id"}


LISTED: list[tuple[dict[str, str], list[str]]] = [
    ({}, ["m", "rich", "x/one"]),
    ({"provider": "x"}, ["x/one"]),
    ({"source": "admin"}, ["m", "x/one"]),
    ({"source": "litellm"}, ["rich"]),
    ({"pattern": "?"}, ["m"]),
    ({"pattern": "x/*"}, ["x/one"]),
    ({"pattern": "[mr]*"}, ["m", "rich"]),
    ({"pattern": "X*"}, []),
    ({"pattern": "$where"}, []),
    ({"pattern": "(((a+)+)+)+$"}, []),
    ({"bundled": "true"}, ["anthropic/c", "elsewhere/rich", "m", "rich", "x/one"]),
    ({"bundled": "true", "provider": "elsewhere"}, ["elsewhere/rich"]),
    ({"bundled": "true", "pattern": "*rich"}, ["elsewhere/rich", "rich"]),
    ({"bundled": "true", "source": "admin"}, ["m", "x/one"]),
    ({"model": "rich", "source": "litellm"}, ["rich"]),
    ({"model": "rich", "source": "admin"}, []),
    ({"history": "true", "pattern": "*i*"}, ["rich"]),
]


async def test_prices_are_listed_by_provider_source_and_pattern(
    admin: httpx2.AsyncClient,
) -> None:
    await make(admin)
    await make(admin, model="x/one", provider="x")
    answer = await admin.post("/admin/costs/import", json={"model": "rich", "dry_run": False})
    assert answer.status_code == 201
    for params, models in LISTED:
        assert await list_models(admin, params) == models, params


async def list_models(admin: httpx2.AsyncClient, params: dict[str, str]) -> list[str]:
    """The models of all pages, of one price each."""
    models: list[str] = []
    query: dict[str, Any] = {**params, "limit": 1}
    while True:
        answer = await admin.get("/admin/costs", params=query)
        assert answer.status_code == 200, answer.text
        models += [version["model"] for version in answer.json()["data"]]
        if answer.json()["next_cursor"] is None:
            return models
        query["cursor"] = answer.json()["next_cursor"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"source": "bank"}, "source"),
        ({"provider": "Open AI"}, "provider"),
        ({"model": "m", "pattern": "m*"}, "pattern"),
        ({"history": "true", "bundled": "true"}, "bundled"),
        ({"pattern": "x" * 257}, "pattern"),
    ],
)
async def test_a_list_that_cannot_be_is_refused(
    admin: httpx2.AsyncClient, params: dict[str, str], field: str
) -> None:
    answer = await admin.get("/admin/costs", params=params)
    assert answer.status_code == 422
    assert set(wrong_fields(answer)) == {field}


async def test_the_providers_own_fees_make_up_for_those_that_a_price_lacks(
    settings: Settings, database: Database, redis: Redis, tmp_path: Path
) -> None:
    rows = {"gpt-9": row("openai", **RICH)}
    async with admin_with_map(settings, database, redis, map_file(tmp_path / "o", **rows)) as admin:
        old = exact(await admin.get("/admin/costs", params={"model": "gpt-9"}))["data"][0]
        assert old["tool_fees"]["file_search"] == Decimal("0.0025")
        version = await post(admin, **{**BASE, "model": "gpt-9"})
        [replaced] = version["replaces"]
        assert "tool_fees" not in replaced["takes_away"]
        await make(admin, model="gpt-9", tool_fees={"file_search": 1, "container_1g": 0.03})
        [replaced] = (await post(admin, **{**BASE, "model": "gpt-9"}))["replaces"]
        assert replaced["takes_away"] == {"tool_fees": {"file_search": 1}}
