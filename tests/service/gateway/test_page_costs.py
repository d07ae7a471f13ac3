"""What providers' pages say that calls cost, through a gateway to their entries."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from libs.common.domain.entries import billed_models, entry_of
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import ClientFormat
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.prices.price_book import PriceBook, prices_at
from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.queue.event_queue import QUEUE
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, DIALECTS, MESSAGES
from tests.service.gateway.routes import add_route, deployment
from tests.service.gateway.stage import Client, open_gateway
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books
from tests.support.provider_costs import ProviderCost, provider_costs

pytestmark = pytest.mark.asyncio(loop_scope="module")

_BODIES: dict[ClientFormat, tuple[str, dict[str, Any]]] = {
    **{each.name: (each.path, each.body()) for each in DIALECTS},
    "embeddings": ("/v1/embeddings", {"input": "Hi"}),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def priced_gateway(settings_with: SettingsWith) -> AsyncIterator[Client]:
    """With LiteLLM's bundled prices, and the providers' own fees."""
    async with open_gateway(settings_with(price_map_path=None)) as client:
        yield client


class Stage:
    def __init__(self, gateway: Client, upstream: Upstream, books: Books, secret: str) -> None:
        self._secret = secret
        self._gateway = gateway
        self._upstream = upstream
        self._books = books
        self._prices = PriceBook(PriceStore(books.database), PriceMap.open(None))

    async def cost(self, row: ProviderCost, client: ClientFormat) -> Any:
        """USD that the entry of a call from that format costs; else what went wrong."""
        self._upstream.answers(json.dumps(_whole_answer(row)).encode())
        served = deployment(
            self._upstream,
            "a",
            f"{row.provider}/{row.model}",
            formats=(row.format,),
            region=row.region,
        )
        route = await add_route(self._books, served)
        path, body = _BODIES[client]
        tools = {"tools": row.answer["tools"]} if "tools" in row.answer else {}
        response = await self._gateway.post(path, self._secret, {**body, "model": route, **tools})
        if response.status_code != 200:
            return response.text
        events = await self._books.all_events()
        (event,) = [each for each in events if each.requested_model == route]
        await self._books.redis.delete(QUEUE)
        if row.at is not None:
            event = msgspec.structs.replace(event, started_at=row.at)
        billed = billed_models(event)
        prices = prices_at(await self._prices.of_models(billed), billed, event.started_at)
        entry = entry_of(event, prices, event.started_at)
        assert isinstance(entry, LedgerEntry)
        return Decimal(entry.cost_nusd).scaleb(-9)


def _whole_answer(row: ProviderCost) -> dict[str, Any]:
    """With the members that clients need and costs do not."""
    answer: dict[str, Any] = {
        "id": "answer-1",
        "model": row.model,
        "created": 1,
        "created_at": 1,
    } | row.answer
    if "choices" in answer:
        defaults = {"index": 0, "finish_reason": "stop"}
        answer["choices"] = [defaults | choice for choice in answer["choices"]]
    if "output" in answer:
        defaults = {"id": "item-1", "role": "assistant", "status": "completed"}
        answer["output"] = [defaults | item for item in answer["output"]]
    return answer


async def test_relayed_calls_cost_what_the_pages_say(
    priced_gateway: Client, upstream: Upstream, books: Books
) -> None:
    stage = Stage(priced_gateway, upstream, books, await books.add_key())
    wrong = {}
    for row in provider_costs():
        cost = await stage.cost(row, row.format)
        if cost != row.usd:
            wrong[row.name] = (cost, row.usd)
    assert wrong == {}


async def test_translated_calls_cost_what_the_pages_say(
    priced_gateway: Client, upstream: Upstream, books: Books
) -> None:
    """But for those with tools, which a translation refuses."""
    stage = Stage(priced_gateway, upstream, books, await books.add_key())
    rows = [
        row for row in provider_costs() if row.format != "embeddings" and "tools" not in row.answer
    ]
    assert len(rows) > 120
    wrong = {}
    for row in rows:
        client = CHAT if row.format == "messages" else MESSAGES
        cost = await stage.cost(row, client.name)
        if cost != row.usd:
            wrong[row.name] = (cost, row.usd)
    assert wrong == {}
