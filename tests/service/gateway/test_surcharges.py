"""Calls in a faster mode, or in a region that costs more, are charged as they were served."""

import json
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from libs.common.schemas.usage import TokenUsage
from tests.service.gateway.dialects import MESSAGES, named
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

SURCHARGES = {"fast": Decimal(2), "us": Decimal("1.1")}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("served", "cost_usd"),
    [
        ({}, "0.000027"),
        ({"speed": "standard", "inference_geo": "not_available"}, "0.000027"),
        ({"speed": "fast", "inference_geo": "global"}, "0.000054"),
        ({"inference_geo": "us"}, "0.0000297"),
        ({"speed": "fast", "inference_geo": "us"}, "0.0000594"),
    ],
)
async def test_a_call_is_charged_as_it_was_served(
    gateway: Client,
    upstream: Upstream,
    books: Books,
    served: dict[str, Any],
    cost_usd: str,
    stream: bool,
) -> None:
    model = f"surcharged-{uuid4().hex}"
    await books.set_price(model, input_usd="1", output_usd="1", surcharges=SURCHARGES)
    serve(upstream, served, stream=stream)
    secret = await books.add_key()
    fields = {"model": f"anthropic/{model}", "speed": "fast", "inference_geo": "us"}

    response = await gateway.post(MESSAGES.path, secret, MESSAGES.body(stream=stream, **fields))

    assert response.status_code == 200
    if not stream:
        assert response.headers["x-gateway-cost-usd"] == cost_usd
    event = await books.the_event(secret)
    assert event.usage == TokenUsage(input_text=15, cache_read=5, output_text=7, **served)
    assert event.held_nusd >= Decimal(cost_usd) * 10**9
    # What the call cost, instead of its hold, until the ledger has posted it.
    assert await books.held(secret) == Decimal(cost_usd) * 10**9
    # The provider is asked as the client asked.
    (request,) = upstream.requests
    assert (request.fields["speed"], request.fields["inference_geo"]) == ("fast", "us")


def serve(upstream: Upstream, served: dict[str, str], *, stream: bool) -> None:
    """A stream says at its start how it is served, and nothing of it later."""
    usage = {**MESSAGES.whole["usage"], **served}
    if stream:
        start = named("message_start", message={"usage": {**usage, "output_tokens": 1}})
        upstream.streams([start, *MESSAGES.frames[1:]])
    else:
        upstream.answers(json.dumps({**MESSAGES.whole, "usage": usage}).encode())
