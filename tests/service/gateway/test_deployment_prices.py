"""What a call costs where its deployment costs other than its model does."""

import json
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from libs.common.domain.entries import billed_models, entry_of
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.prices.price_book import PriceBook, prices_at
from libs.common.storage.prices.price_map import PriceMap
from tests.service.gateway.dialects import CHAT
from tests.service.gateway.routes import add_route, deployment
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

# At 1 USD a million, input and output.
_ANSWER = {**CHAT.whole, "usage": {"prompt_tokens": 1_000, "completion_tokens": 100}}


async def entry_of_call(
    gateway: Client, upstream: Upstream, books: Books, model: str, **fields: Any
) -> LedgerEntry:
    """The entry that the ledger makes of the call, whose cost the gateway told and keeps."""
    upstream.answers(json.dumps(_ANSWER).encode())
    route = await add_route(books, deployment(upstream, "a", f"openai/{model}", **fields))
    secret = await books.add_key()

    response = await gateway.post(CHAT.path, secret, CHAT.body(model=route, max_tokens=100))

    assert response.status_code == 200, response.text
    event = await books.the_event(secret)
    billed = billed_models(event)
    assert billed
    price_at = await PriceBook(PriceStore(books.database), PriceMap(b"{}")).of_models(billed)
    prices = prices_at(price_at, billed, event.started_at)
    entry = entry_of(event, prices, event.started_at)
    assert isinstance(entry, LedgerEntry)
    cost_usd = response.headers["x-gateway-cost-usd"]
    assert entry.cost_nusd == Decimal(cost_usd) * 10**9 == await books.held(secret)
    # 100 tokens of output, at least.
    assert event.held_nusd >= entry.cost_nusd // 11
    return entry


@pytest.mark.parametrize(
    ("fields", "cost_usd"),
    [
        ({}, "0.0011"),
        ({"multiplier": Decimal("1.1")}, "0.00121"),
        ({"multiplier": Decimal(0)}, "0"),
        # By the surcharges of the price: OpenAI's regional endpoints cost a tenth more.
        ({"region": "eu"}, "0.00121"),
        ({"region": "global"}, "0.0011"),
        ({"region": "fedramp"}, "0.00132"),
        ({"region": "eu", "multiplier": Decimal(2)}, "0.00242"),
    ],
)
async def test_a_deployment_has_factors_of_its_own(
    gateway: Client, upstream: Upstream, books: Books, fields: dict[str, Any], cost_usd: str
) -> None:
    model = f"deployed-{uuid4().hex}"
    surcharges = {"regional": Decimal("1.1"), "fedramp": Decimal("1.2")}
    await books.set_price(model, input_usd="1", output_usd="1", surcharges=surcharges)

    entry = await entry_of_call(gateway, upstream, books, model, **fields)

    assert entry.cost_nusd == Decimal(cost_usd) * 10**9
    assert entry.deployment_multiplier == fields.get("multiplier", 1)
    assert entry.usage is not None
    region = fields.get("region")
    assert entry.usage.inference_geo == (None if region == "global" else region)


async def test_a_deployment_has_a_price_of_its_own(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    """Not the one of its model, which has none."""
    own = f"own-{uuid4().hex}"
    await books.set_price(own, input_usd="2", output_usd="2")

    entry = await entry_of_call(gateway, upstream, books, uuid4().hex, priced_as=own)

    assert (entry.cost_nusd, entry.priced_as) == (2_200_000, own)
