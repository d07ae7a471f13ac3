"""`/admin/costs/quote`."""

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

USAGE = {"input_text": 100_000, "cache_read": 150_001, "reasoning": 1_000, "web_searches": 2}


@pytest.fixture
async def admin(
    settings: Settings, database: Database, redis: Redis, tmp_path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    path = map_file(tmp_path / "map.json", mapped=row(), acme__qualified=row())
    async with admin_with_map(settings, database, redis, path) as client:
        yield client


async def quote(admin: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await admin.post("/admin/costs/quote", json={"usage": USAGE, **body})
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = exact(answer)
    return view


async def test_a_quote_lists_the_lines_of_the_cost(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    tiers = [
        {
            "above_input_tokens": above,
            "service_tier": tier,
            "input_cost_per_million": dollars,
            "output_cost_per_million": 2 * dollars,
            "cached_read_cost_per_million": 0.1,
        }
        for above, tier, dollars in ((250_000, None, 4), (0, "flex", 0.5), (250_000, "flex", 3))
    ]
    version = await make(admin, web_search_cost=0.01, tiers=tiers, multiplier=1.1)
    await admin.post("/admin/accounts", json={"user_id": "a", "price_multiplier": 0.5})

    view = await quote(admin, model="m", usage={**USAGE, "service_tier": "flex"}, user_id="a")

    def line(item: str, quantity: int, rate: str, per: int, amount: str) -> dict[str, Any]:
        usd = {"rate_usd": Decimal(rate), "amount_usd": Decimal(amount)}
        return {"item": item, "quantity": quantity, "per": per, **usd}

    assert view["lines"] == [
        line("input_text", 100_000, "3", 1_000_000, "0.3"),
        line("cache_read", 150_001, "0.1", 1_000_000, "0.0150001"),
        line("reasoning", 1_000, "6", 1_000_000, "0.006"),
        line("web_search", 2, "0.01", 1, "0.02"),
    ]
    assert (view["multiplier"], view["account_multiplier"]) == (Decimal("0.55"), Decimal("0.5"))
    # 0.3410001 times 0.55 ends in a half of a nano-dollar, which is rounded to the even one.
    assert view["cost_usd"] == Decimal("0.187550055")
    assert view["rates"]["above_input_tokens"] == 250_000
    assert (view["rates"]["service_tier"], view["rates"]["input_cost_per_million"]) == ("flex", 3)
    assert view["price"]["price_id"] == version["price_id"]
    assert (view["provider"], view["model"]) == ("*", "m")
    assert await database["entries"].count_documents({}) == 0


@pytest.mark.parametrize(
    ("model", "provider", "found"),
    [
        ("mapped", None, "acme"),
        ("acme/mapped", None, "acme"),
        ("qualified", "acme", "acme"),
        ("acme/qualified", None, "acme"),
        ("acme/qualified", "acme", "acme"),
        ("mapped", "elsewhere", None),
        ("unknown", None, None),
    ],
)
async def test_the_provider_is_taken_from_the_name(
    admin: httpx2.AsyncClient, model: str, provider: str | None, found: str | None
) -> None:
    body = {"model": model, "provider": provider, "usage": USAGE}
    answer = await admin.post("/admin/costs/quote", json=body)
    if found is None:
        assert answer.status_code == 404
        assert "has no price" in answer.json()["detail"]
    else:
        assert answer.json()["provider"] == found
        assert answer.json()["price"]["source"] == "litellm"


async def test_a_quote_has_the_surcharges_of_how_the_call_is_served(
    admin: httpx2.AsyncClient,
) -> None:
    await make(admin, web_search_cost=0.01, surcharges={"fast": 2, "us": 1.1}, multiplier=3)
    usage = {"input_text": 1_000_000, "web_searches": 1}
    plain = await quote(admin, model="m", usage=usage)
    assert (plain["surcharges"], plain["cost_usd"]) == ({}, Decimal("3.03"))
    service = {"speed": "fast", "inference_geo": "us"}
    view = await quote(admin, model="m", usage=usage | service)
    assert view["surcharges"] == {"fast": 2, "us": Decimal("1.1")} == view["price"]["surcharges"]
    # The rate as listed; the line has it as it is charged.
    assert view["rates"]["input_cost_per_million"] == 1
    assert view["lines"][0]["rate_usd"] == view["lines"][0]["amount_usd"] == Decimal("2.2")
    assert view["cost_usd"] == Decimal("6.63")


async def test_a_quote_is_for_a_time(admin: httpx2.AsyncClient) -> None:
    for input_cost, start in ((1, "2026-01-01"), (2, "2026-07-01"), (3, "2027-01-01")):
        await make(admin, input_cost_per_million=input_cost, effective_from=f"{start}T00:00:00Z")
    usage = {"input_text": 1_000_000}
    costs = [
        (await quote(admin, model="m", usage=usage, at=at))["cost_usd"]
        for at in ("2026-06-30T23:59:59.999Z", "2026-07-01T00:00:00Z", None, "2027-01-01T00:00:00Z")
    ]
    assert costs == [1, 2, 2, 3]


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"model": None}, 422, "model"),
        ({"usage": {"input_text": -1}}, 422, "usage.input_text"),
        ({"usage": {"tokens": 1}}, 422, "usage.tokens"),
        ({"usage": {"input_text": 2**53, "output_text": 2**53}, "model": "dear"}, 422, "usage"),
        ({"account_multiplier": 2, "user_id": "a"}, 422, "account_multiplier"),
        ({"at": "now"}, 422, "at"),
        ({"user_id": "nobody"}, 404, None),
    ],
)
async def test_invalid_fields_are_named(
    admin: httpx2.AsyncClient, changes: dict[str, Any], status: int, field: str | None
) -> None:
    await make(admin, model="dear", input_cost_per_million=1_000_000)
    body = {"model": "mapped", "usage": USAGE, **changes}
    answer = await admin.post("/admin/costs/quote", json=body)
    assert answer.status_code == status, answer.text
    if field is not None:
        assert set(wrong_fields(answer)) == {field}


async def test_an_accounts_multiplier_applies(admin: httpx2.AsyncClient) -> None:
    answer = await admin.post("/admin/accounts", json={"user_id": "a"})
    assert answer.json()["price_multiplier"] == 1
    changed = await admin.patch("/admin/accounts/a", json={"price_multiplier": 1.250})
    assert exact(changed)["price_multiplier"] == Decimal("1.25")
    usage = {"input_text": 1_000_000}
    assert (await quote(admin, model="mapped", usage=usage, user_id="a"))["cost_usd"] == Decimal(
        "1.25"
    )
    assert (await quote(admin, model="mapped", usage=usage))["cost_usd"] == 1
    wrong = await admin.patch("/admin/accounts/a", json={"price_multiplier": None})
    assert wrong.status_code == 422
