"""What providers' pages say that calls cost, by quotes of what the providers report."""

import json
from typing import Any

import httpx2
import msgspec

from services.admin.reported_usage import usage_view
from services.gateway.formats import FORMATS
from tests.service.admin.test_accounts import exact
from tests.support.provider_costs import ProviderCost, provider_costs

# What is charged for, or not, is said beside the usage there.
BESIDE = {"openai chat with its searching model", "anthropic refusal before any output"}
NOON = "2026-11-24T12:00:00Z"


async def quote(admin: httpx2.AsyncClient, row: ProviderCost, usage: Any, **fields: Any) -> Any:
    body = {
        "provider": row.provider,
        "model": row.model,
        "at": NOON if row.at is None else row.at.isoformat(),
        "usage": usage,
        **fields,
    }
    answer = await admin.post("/admin/costs/quote", json=body)
    return exact(answer)["cost_usd"] if answer.status_code == 200 else answer.text


async def test_a_quote_of_the_reported_usage_costs_what_the_page_says(
    admin: httpx2.AsyncClient,
) -> None:
    """But where the cost depends on the rest of the answer, such as the searches in it."""
    wrong: dict[str, Any] = {}
    rows = [
        row
        for row in provider_costs()
        if row.name not in BESIDE and not row.answer.keys() & {"tools", "tool_usage"}
    ]
    assert len(rows) > 120
    for row in rows:
        usage = row.answer["usage"]
        usage |= {} if row.region is None else {"inference_geo": row.region}
        tier = row.answer.get("service_tier")
        for usage_format in (row.format, None):
            if usage_format is None and row.format == "embeddings":
                # In chat's shape, which knows an output.
                continue
            cost = await quote(admin, row, usage, format=usage_format, service_tier=tier)
            if cost != row.usd:
                wrong[row.name] = (usage_format, cost, row.usd)
    assert wrong == {}


async def test_a_quote_of_an_entrys_usage_costs_what_the_page_says(
    admin: httpx2.AsyncClient,
) -> None:
    wrong: dict[str, Any] = {}
    for row in provider_costs():
        usage = FORMATS[row.format].usage_of_answer(json.dumps(row.answer).encode())
        assert usage is not None
        if row.region is not None:
            usage = msgspec.structs.replace(usage, inference_geo=row.region)
        view = msgspec.to_builtins(usage_view(usage))
        cost = await quote(admin, row, view)
        if cost != row.usd:
            wrong[row.name] = (cost, row.usd)
    assert wrong == {}
