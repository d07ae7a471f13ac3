"""Calls with a tool for web searches: held for, charged for, and not made without a fee."""

import json
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from libs.common.domain.entries import entry_of
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.prices.price_book import PriceBook
from libs.common.storage.prices.price_map import PriceMap
from tests.service.gateway.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from tests.service.gateway.routes import Endpoints, add_route, deployment
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKING: list[tuple[Dialect, dict[str, Any]]] = [
    (CHAT, {"web_search_options": {}}),
    (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    (RESPONSES, {"tools": [{"type": "web_search"}]}),
]
every_format = pytest.mark.parametrize(
    ("dialect", "asking"), ASKING, ids=[dialect.name for dialect, _ in ASKING]
)
FUNCTION = {"type": "function", "name": "web_search", "parameters": {}}


@every_format
async def test_the_providers_own_fee_comes_with_the_product(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, asking: dict[str, Any]
) -> None:
    """Codex offers searches in each request. OpenAI and Anthropic sell them with every model."""
    upstream.answers(dialect.answer)
    secret, other = await books.add_key(), await books.add_key()

    for key, fields in ((secret, asking), (other, {})):
        body = dialect.body(max_tokens=10, max_output_tokens=10, **fields)
        assert (await gateway.post(dialect.path, key, body)).status_code == 200

    search_event, plain_event = await books.the_event(secret), await books.the_event(other)
    assert search_event.held_nusd - plain_event.held_nusd >= 10 * 10_000_000


@pytest.mark.parametrize(
    ("dialect", "tool"),
    [
        (CHAT, {"type": "browser_search"}),
        (MESSAGES, {"type": "teleport_20270101", "name": "teleport"}),
        (RESPONSES, {"type": "x_search"}),
    ],
    ids=["chat", "messages", "responses"],
)
async def test_a_tool_without_a_known_fee_is_refused(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, tool: dict[str, Any]
) -> None:
    """Nothing is free by accident."""
    upstream.answers(dialect.answer)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(tools=[tool]))

    error = dialect.check_error(response, 400, "model_not_priced")
    assert "tool_fees" in error["message"]
    assert upstream.requests == []
    event = await books.the_event(secret)
    assert (event.status, event.error_code) == ("refused", "model_not_priced")
    assert await books.held(secret) == 0


@pytest.mark.parametrize("drops", [False, True], ids=["refuses", "drops"])
async def test_an_unsent_search_needs_no_fee(
    gateway: Client, upstream: Upstream, books: Books, drops: bool
) -> None:
    """A server that only chats gets none, whatever the client offers."""
    Endpoints(upstream)
    await books.set_price("hosted_vllm/plain", input_usd="1", output_usd="1")
    server = deployment(upstream, "a", "hosted_vllm/plain", formats=("chat",), drop_params=drops)
    route = await add_route(books, server)
    body = RESPONSES.body(model=route, tools=[FUNCTION, {"type": "web_search"}])

    response = await gateway.post(RESPONSES.path, await books.add_key(), body)

    if drops:
        assert response.status_code == 200, response.text
        assert response.headers["x-gateway-dropped-params"] == "tools[1]"
        (request,) = upstream.requests
        assert [tool["type"] for tool in request.fields["tools"]] == ["function"]
    else:
        error = RESPONSES.check_error(response, 400, "unsupported_field")
        assert error["param"] == "tools[1]"
        assert upstream.requests == []


async def test_a_function_of_that_name_is_the_clients_own(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    upstream.answers(RESPONSES.answer)
    body = RESPONSES.body(tools=[FUNCTION])
    assert (await gateway.post(RESPONSES.path, await books.add_key(), body)).status_code == 200


async def new_model(books: Books, **fields: Any) -> str:
    """A model that is free but for its searches."""
    name = f"searching-{uuid4().hex}"
    await books.set_price(name, input_usd="0", output_usd="0", **fields)
    return name


@pytest.mark.parametrize(
    ("tool", "most"), [({}, 10), ({"max_uses": 3}, 3)], ids=["assumed", "limited"]
)
async def test_searches_are_held_for_and_charged(
    gateway: Client, upstream: Upstream, books: Books, tool: dict[str, Any], most: int
) -> None:
    model = await new_model(books, web_search=Decimal("0.01"))
    usage = {**MESSAGES.whole["usage"], "server_tool_use": {"web_search_requests": 2}}
    upstream.answers(json.dumps({**MESSAGES.whole, "usage": usage}).encode())
    secret = await books.add_key()
    tools = [{"type": "web_search_20250305", "name": "web_search", **tool}]

    response = await gateway.post(
        MESSAGES.path, secret, MESSAGES.body(model=f"anthropic/{model}", tools=tools)
    )

    assert response.headers["x-gateway-cost-usd"] == "0.02"
    event = await books.the_event(secret)
    assert event.held_nusd == most * 10_000_000
    assert await books.held(secret) == 20_000_000


async def test_a_fee_of_zero_makes_searches_free(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    model = await new_model(books, web_search=Decimal(0))
    upstream.answers(RESPONSES.answer)
    body = RESPONSES.body(model=f"openai/{model}", tools=[{"type": "web_search"}])
    assert (await gateway.post(RESPONSES.path, await books.add_key(), body)).status_code == 200


async def test_a_deployment_without_a_fee_is_skipped(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    endpoints = Endpoints(upstream)
    plain, searching = await new_model(books), await new_model(books, web_search=Decimal("0.01"))
    model = await add_route(
        books,
        deployment(upstream, "a", f"openai/{plain}"),
        deployment(upstream, "b", f"openai/{searching}", priority=1),
    )
    secret = await books.add_key()

    body = CHAT.body(model=model)
    for payload in (body, {**body, "web_search_options": {}}):
        assert (await gateway.post(CHAT.path, secret, payload)).status_code == 200

    assert endpoints.calls == ["a", "b"]


async def test_an_override_keeps_the_providers_own_fees(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    """A price of rates alone took the tools away, which Codex offers in each request."""
    model = f"gpt-{uuid4().hex}"
    await books.set_price(model, input_usd="0", output_usd="0")
    searches = [{"type": "web_search_call", "status": "completed", "action": {"type": "search"}}]
    file_searches = [{"type": "file_search_call", "status": "completed"}]
    tools = [
        {"type": "web_search"},
        {"type": "file_search", "vector_store_ids": []},
        {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}},
    ]
    answer = {**RESPONSES.whole, "output": [*searches, *file_searches, *RESPONSES.whole["output"]]}
    upstream.answers(json.dumps({**answer, "tools": tools}).encode())
    secret = await books.add_key()

    body = RESPONSES.body(model=model, tools=tools, max_tool_calls=3)
    response = await gateway.post(RESPONSES.path, secret, body)

    assert response.status_code == 200, response.text
    # A search and a look into files; the container was not used.
    assert response.headers["x-gateway-cost-usd"] == "0.0125"
    event = await books.the_event(secret)
    # Three searches, three looks into files, one container of four gigabytes.
    assert event.held_nusd == 30_000_000 + 7_500_000 + 120_000_000
    price_at = await PriceBook(PriceStore(books.database), PriceMap(b"{}")).of_models(
        [("openai", model)]
    )
    price = price_at(("openai", model), event.started_at)
    assert price is not None
    entry = entry_of(event, {("openai", model): price}, event.started_at)
    assert isinstance(entry, LedgerEntry)
    assert entry.cost_nusd == 12_500_000
    assert [line.item for line in entry.lines][-2:] == ["web_search", "file_search"]
