"""What only the provider knows of a cost: its own figure, and refusals that it charges for."""

import json
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from tests.service.gateway.dialects import CHAT
from tests.service.gateway.routes import Endpoints, add_route, deployment
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_one_price_covers_all_models_of_a_provider_that_tells_its_costs(
    gateway: Client, upstream: Upstream, books: Books, stream: bool
) -> None:
    """OpenRouter, whose models LiteLLM's map does not have."""
    await books.set_price(
        "*",
        input_usd="30",
        output_usd="150",
        provider="openrouter",
        basis="provider_reported",
        multiplier=Decimal("1.055"),
    )
    usage = {"prompt_tokens": 1_000, "completion_tokens": 100, "cost": 0.00123}
    endpoints = Endpoints(upstream)
    if stream:
        content = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
        chunks = [content, {"choices": [], "usage": usage}]
        frames = [b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks]
        endpoints.streams("a", [*frames, b"data: [DONE]\n\n"])
    else:
        endpoints.answers("a", {**CHAT.whole, "usage": usage})
    model = await add_route(books, deployment(upstream, "a", f"openrouter/maker/{uuid4().hex}"))
    secret = await books.add_key()

    # What its tools cost is in the figure.
    fields: dict[str, Any] = {
        "tools": [{"type": "openrouter:web_search"}],
        "plugins": [{"id": "web"}],
    }
    body = CHAT.body(model=model, max_tokens=100, stream=stream, **fields)
    assert (await gateway.post(CHAT.path, secret, body)).status_code == 200

    event = await books.the_event(secret)
    assert event.usage is not None
    assert event.usage.provider_cost_usd == Decimal("0.00123")
    # 0.00123 x 1.055
    assert await books.held(secret) == 1_297_650
    assert event.held_nusd >= 100 * 150 * 1_055


_FILTERED = {
    "error": {
        "message": "The response was filtered due to the prompt triggering a policy.",
        "code": "content_filter",
        "status": 400,
    }
}


@pytest.mark.parametrize(
    ("provider", "error", "is_charged"),
    [
        ("azure", _FILTERED, True),
        ("azure", {"error": {"code": "invalid_request", "message": "no"}}, False),
        ("openai", _FILTERED, False),
    ],
)
async def test_a_filtered_prompt_is_charged_where_the_provider_does_so(
    gateway: Client,
    upstream: Upstream,
    books: Books,
    provider: str,
    error: dict[str, Any],
    is_charged: bool,
) -> None:
    name = f"filtering-{uuid4().hex}"
    await books.set_price(name, input_usd="1", output_usd="1")
    endpoints = Endpoints(upstream)
    endpoints.fails("a", 400, error)
    model = await add_route(
        books, deployment(upstream, "a", f"{provider}/{name}", formats=("chat",))
    )
    secret = await books.add_key()

    response = await gateway.post(CHAT.path, secret, CHAT.body(model=model))

    assert response.status_code == 400
    event = await books.the_event(secret)
    assert event.status == "upstream_error"
    assert event.usage_source == ("estimated" if is_charged else "none")
    assert (await books.held(secret) > 0) is is_charged
