"""`/admin/costs/quote` of what a provider reported, and of a route."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from services.admin.settings import Settings
from tests.service.admin.price_maps import admin_with_map, make, map_file, row
from tests.service.admin.problems import wrong_fields
from tests.service.admin.test_accounts import exact

# One dollar for input, two for output, ten cents for cached input, three for reasoning.
RATES: dict[str, Any] = {
    "cache_read_input_token_cost": 1e-07,
    "cache_creation_input_token_cost": 1.25e-06,
    "cache_creation_input_token_cost_above_1hr": 2e-06,
    "output_cost_per_reasoning_token": 3e-06,
    "input_cost_per_token_priority": 2e-06,
    "output_cost_per_token_priority": 4e-06,
}


@pytest.fixture
async def admin(
    settings: Settings, database: Database, redis: Redis, tmp_path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    rows = {"m": row(**RATES), "elsewhere__m": row("elsewhere", output_cost_per_token=5e-06)}
    async with admin_with_map(settings, database, redis, map_file(tmp_path / "m", **rows)) as one:
        yield one


async def quote(admin: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await admin.post("/admin/costs/quote", json={"model": "m", **body})
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = exact(answer)
    return view


CHAT = {
    "prompt_tokens": 1_000,
    "completion_tokens": 500,
    "total_tokens": 1_500,
    "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": None},
    "completion_tokens_details": {"reasoning_tokens": 200},
    "queue_time": 0.018,
}
RESPONSE = {
    "input_tokens": 1_000,
    "input_tokens_details": {"cached_tokens": 400},
    "output_tokens": 500,
    "output_tokens_details": {"reasoning_tokens": 200},
    "total_tokens": 1_500,
}
MESSAGE = {
    "input_tokens": 600,
    "cache_read_input_tokens": 400,
    "cache_creation_input_tokens": 300,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 500,
    "service_tier": "standard",
}
# 600 at 1, 400 at 0.1, 300 at 2 and 200 at 3; Anthropic's 100 at 1.25, 200 at 2 and 500 at 2.
INCLUSIVE = Decimal("0.00184")
ADDITIVE = Decimal("0.002165")


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("usage", "usage_format", "cost"),
    [
        (CHAT, "chat", INCLUSIVE),
        (RESPONSE, "responses", INCLUSIVE),
        (MESSAGE, "messages", ADDITIVE),
        # What xAI documents: reasoning is beside the output, as the total says.
        (
            {**CHAT, "completion_tokens": 300, "total_tokens": 1_500},
            "chat",
            INCLUSIVE,
        ),
        ({"input_tokens": 1_000_000, "output_tokens": 1}, "messages", Decimal("1.000002")),
    ],
)
async def test_a_providers_own_usage_is_quoted(
    admin: httpx2.AsyncClient, usage: dict[str, Any], usage_format: str, cost: Decimal, named: bool
) -> None:
    fields = {"format": usage_format} if named else {}
    view = await quote(admin, usage=usage, **fields)
    assert view["cost_usd"] == cost
    assert sum(line["amount_usd"] for line in view["lines"]) == cost
    assert view["usage"]["output_text"] in (1, 300, 500)


async def test_embeddings_are_named_by_their_format(admin: httpx2.AsyncClient) -> None:
    view = await quote(admin, usage={"total_tokens": 1_000_000}, format="embeddings")
    assert view["cost_usd"] == 1
    assert view["usage"] == {"input_text": 1_000_000, "output_text": 0}


async def test_the_reading_of_a_contradiction_is_noted(admin: httpx2.AsyncClient) -> None:
    view = await quote(
        admin, usage={"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 99}
    )
    assert view["usage"] == {
        "input_text": 10,
        "output_text": 89,
        "notes": ["output_from_total"],
    }


@pytest.mark.parametrize("tier", ["priority", "fast"])
async def test_the_tier_is_in_the_usage_or_beside_it(admin: httpx2.AsyncClient, tier: str) -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    for body in (
        {"usage": {**usage, "service_tier": tier}},
        {"usage": usage, "service_tier": tier},
    ):
        view = await quote(admin, **body)
        assert (view["cost_usd"], view["notes"]) == (2, [])
        assert view["rates"]["service_tier"] == "priority"


@pytest.mark.parametrize(
    ("usage", "noted"),
    [
        ({"service_tier": "ultra"}, [("service_tier_unknown", "ultra")]),
        ({"service_tier": "flex"}, [("service_tier_unknown", "flex")]),
        ({"service_tier": "default"}, []),
        ({"speed": "fast"}, [("speed_unknown", "fast")]),
        ({"inference_geo": "eu"}, [("region_unknown", "eu")]),
        ({"inference_geo": "global", "speed": "standard"}, []),
        ({"tool_uses": {"x_search": 2}}, [("tool_fee_missing", None)]),
        (
            {"service_tier": "ultra", "inference_geo": "eu"},
            [("service_tier_unknown", "ultra"), ("region_unknown", "eu")],
        ),
    ],
)
async def test_a_quote_notes_terms_missing_from_the_price(
    admin: httpx2.AsyncClient, usage: dict[str, Any], noted: list[tuple[str, str | None]]
) -> None:
    view = await quote(admin, usage={"input_text": 1_000_000, **usage})
    assert view["cost_usd"] == 1
    assert [(note["note"], note["value"]) for note in view["notes"]] == noted
    assert all(note["message"] for note in view["notes"])


async def test_a_route_is_quoted_as_it_would_be_served(admin: httpx2.AsyncClient) -> None:
    deployments = [
        {"model": "elsewhere/unpriced", "priority": 0},
        {"model": "elsewhere/m", "priority": 1},
        {"model": "acme/m", "priority": 1, "weight": 5},
    ]
    route = {"model": "house/best", "deployments": deployments}
    price = {"model": "unpriced", "input_cost_per_million": 0, "output_cost_per_million": 0}
    version = (await admin.post("/admin/costs", json=price)).json()
    assert (await admin.post("/admin/models", json=route)).status_code == 201
    await admin.delete(f"/admin/costs/{version['price_id']}")
    view = await quote(admin, model="house/best", usage={"output_text": 1_000_000})
    # The first with a price; gateways do not use those without one.
    assert (view["provider"], view["model"], view["cost_usd"]) == ("acme", "m", 2)
    assert [(d["provider"], d["model"], d["cost_usd"]) for d in view["deployments"]] == [
        ("elsewhere", "unpriced", None),
        ("acme", "m", 2),
        ("elsewhere", "m", 5),
    ]
    assert view["deployment_id"] == view["deployments"][1]["deployment_id"]
    # A provider that is named is meant.
    fields = {"provider": "acme", "usage": {"output_text": 1}}
    answer = await admin.post("/admin/costs/quote", json={"model": "house/best", **fields})
    assert answer.status_code == 404
    assert (await quote(admin, usage={"output_text": 1}))["deployments"] == []


async def test_a_deployment_that_costs_other_than_its_model_is_quoted_so(
    admin: httpx2.AsyncClient,
) -> None:
    await make(admin, model="own", provider="acme", surcharges={"eu": 1.5})
    deployment = {"model": "acme/m", "multiplier": 2, "priced_as": "own", "region": "eu"}
    route = {"model": "house/eu", "deployments": [deployment]}
    assert (await admin.post("/admin/models", json=route)).status_code == 201
    usage = {"input_text": 1_000_000}
    view = await quote(admin, model="house/eu", usage=usage, account_multiplier=3)
    assert (view["model"], view["priced_as"], view["price"]["model"]) == ("m", "own", "own")
    assert (view["cost_usd"], view["surcharges"]) == (9, {"eu": Decimal("1.5")})
    assert (view["account_multiplier"], view["deployment_multiplier"]) == (3, 2)
    # The region that an answer tells is the one that counts.
    view = await quote(admin, model="house/eu", usage={**usage, "inference_geo": "us"})
    assert (view["cost_usd"], view["surcharges"]) == (2, {})


async def test_every_model_that_ran_is_quoted_at_its_own_price(admin: httpx2.AsyncClient) -> None:
    await make(admin, model="adviser", input_cost_per_million=10, output_cost_per_million=50)
    iterations = [
        {"type": "message", "input_tokens": 1_000, "output_tokens": 500},
        {
            "type": "advisor_message",
            "model": "adviser",
            "input_tokens": 1_000,
            "output_tokens": 100,
        },
    ]
    usage = {"input_tokens": 1_000, "output_tokens": 500, "iterations": iterations}
    view = await quote(admin, usage=usage)
    # 1,000 at 1 and 500 at 2; 1,000 at 10 and 100 at 50.
    assert view["cost_usd"] == Decimal("0.002") + Decimal("0.015")
    assert [line.get("model") for line in view["lines"]] == [None, None, "adviser", "adviser"]
    iterations[1]["model"] = "unheard-of"
    view = await quote(admin, usage=usage)
    assert (view["cost_usd"], view["unpriced"]) == (Decimal("0.002"), ["unheard-of"])


async def test_a_cost_that_the_provider_tells_is_charged_where_the_price_says_so(
    admin: httpx2.AsyncClient,
) -> None:
    await make(admin, model="m", provider="acme", basis="provider_reported", multiplier=2)
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.25}
    view = await quote(admin, usage=usage)
    assert (view["cost_usd"], view["lines"][0]["per"]) == (Decimal("0.5"), 1)
    view = await quote(admin, usage={"input_text": 1_000_000})
    assert view["cost_usd"] == 2
    assert [note["note"] for note in view["notes"]] == ["provider_cost_missing"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"usage": {"prompt_tokens": "many"}}, "usage"),
        ({"usage": {"prompt_tokens": -1, "completion_tokens": 0}}, "usage"),
        ({"usage": {}, "format": "chat"}, "usage"),
        ({"usage": {"prompt_tokens": 5}, "format": "messages"}, "usage"),
        ({"usage": {**RESPONSE, **MESSAGE}}, "format"),
        ({"usage": CHAT, "format": "letters"}, "format"),
        ({"usage": {f"m{n}": 1 for n in range(129)}}, "usage"),
        ({"usage": [1]}, "usage"),
        ({"usage": {"input_text": 1, "tool_uses": {"": 1}}}, "usage.tool_uses"),
        ({"usage": {"input_text": 1.5}}, "usage.input_text"),
        ({"usage": {"tool_uses": {f"t{n}": 1 for n in range(65)}}}, "usage.tool_uses"),
        ({"usage": {"provider_cost_usd": "NaN"}}, "usage.provider_cost_usd"),
    ],
)
async def test_a_usage_that_cannot_be_read_is_refused(
    admin: httpx2.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await admin.post("/admin/costs/quote", json={"model": "m", **body})
    assert answer.status_code == 422, answer.text
    assert set(wrong_fields(answer)) == {field}
