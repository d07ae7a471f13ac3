"""`/admin/costs/compare`."""

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


def openai(**fields: Any) -> dict[str, Any]:
    return row("openai", **fields)


@pytest.fixture
async def admin(
    settings: Settings, database: Database, redis: Redis, tmp_path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    rows = {
        "gpt-9": openai(cache_read_input_token_cost=1e-07),
        "gpt-9-mini": openai(input_cost_per_token_above_200k_tokens=3e-06),
        "gemini__pro": row("gemini"),
        "embed": row("openai", mode="embedding", output_cost_per_token=0),
    }
    async with admin_with_map(settings, database, redis, map_file(tmp_path / "m", **rows)) as one:
        yield one


def document(*models: tuple[dict[str, Any], Any], provider: str = "openai") -> list[dict[str, Any]]:
    """As genai-prices publishes it: what names match, and what those cost."""
    return [
        {
            "id": provider,
            "name": provider,
            "api_pattern": "x",
            "models": [
                {"id": f"m{place}", "match": match, "prices": prices}
                for place, (match, prices) in enumerate(models)
            ],
        }
    ]


SAME = {"input_mtok": 1, "output_mtok": 2}


async def compare(admin: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await admin.post("/admin/costs/compare", json=body)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = exact(answer)
    return report


def rates(report: dict[str, Any]) -> list[tuple[str, int, str, Any, Any]]:
    return [
        (row["model"], d["above_input_tokens"], d["rate"], d["ours"], d["theirs"])
        for row in report["data"]
        for d in row["differences"]
    ]


async def test_stored_prices_are_compared_with_the_bundled_rows(admin: httpx2.AsyncClient) -> None:
    assert (await compare(admin))["models"] == 0
    own = await make(admin, model="gpt-9", output_cost_per_million=5)
    answer = await admin.post("/admin/costs/import", json={"model": "gpt-9-mini", "dry_run": False})
    assert answer.status_code == 201
    report = await compare(admin)
    assert (report["with"], report["models"], report["differing"]) == ("bundled", 2, 1)
    [differing] = report["data"]
    assert (differing["model"], differing["price_id"]) == ("gpt-9", own["price_id"])
    assert differing["other"].startswith("litellm:gpt-9@")
    assert differing["differences"]["output_cost_per_million"] == {"from": 2, "to": 5}
    assert (await compare(admin, provider="gemini"))["models"] == 0
    assert (await compare(admin, pattern="*-mini"))["models"] == 1


async def test_prices_in_force_are_compared_with_genai_prices(admin: httpx2.AsyncClient) -> None:
    theirs = document(
        ({"equals": "gpt-9"}, {**SAME, "cache_read_mtok": 0.25}),
        ({"or": [{"starts_with": "GPT-9-m"}]}, SAME),
        ({"contains": "embed"}, {"input_mtok": 1}),
    )
    report = await compare(admin, genai_prices=theirs)
    assert (report["with"], report["models"], report["differing"]) == ("genai-prices", 3, 2)
    assert rates(report) == [
        ("gpt-9", 0, "cached_read_cost_per_million", Decimal("0.1"), Decimal("0.25")),
        ("gpt-9-mini", 200_000, "input_cost_per_million", 3, 1),
    ]
    assert report["data"][0]["other"] == "genai-prices:m0"
    # An administrator's price is what is compared, with its mark-up.
    await make(admin, model="gpt-9", provider="openai", multiplier=1.5)
    assert ("gpt-9", 0, "output_cost_per_million", 3, 2) in rates(
        await compare(admin, genai_prices=theirs)
    )


async def test_the_price_of_its_time_and_each_step_of_it_count(admin: httpx2.AsyncClient) -> None:
    steps = {"base": 1, "tiers": [{"start": 200_000, "price": 3}]}
    theirs = document(
        (
            {"and": [{"starts_with": "gpt"}, {"ends_with": "mini"}]},
            [
                {"prices": {"input_mtok": 9, "output_mtok": 9}},
                {
                    "constraint": {"start_date": "2026-11-01"},
                    "prices": {**SAME, "input_mtok": steps},
                },
                {
                    "constraint": {"start_date": "2026-12-01"},
                    "prices": {"input_mtok": 7, "output_mtok": 2},
                },
                {"constraint": {"start_time": "00:00", "end_time": "08:00"}, "prices": SAME},
            ],
        )
    )
    assert rates(await compare(admin, genai_prices=theirs)) == []
    later = await compare(admin, genai_prices=theirs, at="2026-12-01")
    assert [(above, ours, usd) for _, above, _, ours, usd in rates(later)] == [
        (0, 1, 7),
        (200_000, 3, 7),
    ]


@pytest.mark.parametrize(
    ("match", "prices"),
    [
        ({"regex": "gpt-9"}, SAME),
        ({"equals": "gpt-9", "or": []}, SAME),
        ({"or": 5}, SAME),
        ({"and": []}, SAME),
        ({"equals": "gpt-9"}, {"output_mtok": 1}),
        ({"equals": "gpt-9"}, {"input_mtok": -1, "output_mtok": 1}),
        ({"equals": "gpt-9"}, {"input_mtok": True, "output_mtok": 1}),
        ({"equals": "gpt-9"}, {"input_mtok": {"base": 1}, "output_mtok": 1}),
        ({"equals": "gpt-9"}, {"input_mtok": {"base": 1, "tiers": [5]}, "output_mtok": 1}),
        ({"equals": "gpt-9"}, {"input_mtok": {"base": 1, "tiers": [{"start": -1, "price": 1}]}}),
        ({"equals": "gpt-9"}, [5]),
        ({"equals": "gpt-9"}, [{"constraint": {"start_date": "soon"}, "prices": SAME}]),
        ({"equals": "gpt-9"}, "free"),
    ],
)
async def test_unreadable_prices_are_not_compared(
    admin: httpx2.AsyncClient, match: dict[str, Any], prices: Any
) -> None:
    report = await compare(admin, genai_prices=document((match, prices)), pattern="gpt-9")
    assert (report["models"], report["data"]) == (0, [])


async def test_the_comparison_comes_in_pages(admin: httpx2.AsyncClient) -> None:
    theirs = document(({"contains": ""}, {"input_mtok": 8, "output_mtok": 8}))
    models: list[str] = []
    body: dict[str, Any] = {"genai_prices": theirs, "limit": 2}
    while True:
        page = await compare(admin, **body)
        models += [row["model"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        body["cursor"] = page["next_cursor"]
    assert models == ["embed", "gpt-9", "gpt-9-mini"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"genai_prices": {}}, "genai_prices"),
        ({"genai_prices": [5]}, "genai_prices"),
        ({"genai_prices": [{"id": "openai"}]}, "genai_prices"),
        ({"limit": 0}, "limit"),
        ({"at": "now"}, "at"),
    ],
)
async def test_a_document_of_another_shape_is_refused(
    admin: httpx2.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await admin.post("/admin/costs/compare", json=body)
    assert answer.status_code == 422
    assert set(wrong_fields(answer)) == {field}
