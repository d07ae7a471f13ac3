"""Models that a call names beside its own: allowed, priced and held for, or nothing is sent."""

from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from libs.common.domain.hosted_tools import DEFAULT_IMAGE_MODEL
from tests.service.gateway.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from tests.service.gateway.routes import Endpoints, add_route, deployment
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN = {"chat": "gpt-4o", "messages": "claude-haiku-4-5", "responses": "gpt-4o"}
PROVIDER = {"chat": "openai", "messages": "anthropic", "responses": "openai"}


def naming(name: str) -> list[tuple[Dialect, dict[str, Any], str]]:
    """Every way to name that model, and the path of the name."""
    image = {"type": "image_generation"}
    advisor = {"type": "advisor_20260301", "name": "advisor", "model": name}
    change = {"type": "tool_addition", "tool": {"type": "tool", "definition": advisor}}
    item = {"type": "additional_tools", "tools": [{**image, "model": name}]}
    return [
        (MESSAGES, {"tools": [advisor]}, "tools[0].model"),
        (MESSAGES, {"fallbacks": [{"model": name}]}, "fallbacks[0].model"),
        (
            MESSAGES,
            {"messages": [{"role": "system", "content": [change]}]},
            "messages[0].content[0].tool.definition.model",
        ),
        (CHAT, {"models": [name]}, "models[0]"),
        (CHAT, {"moderation": {"model": name}}, "moderation.model"),
        (CHAT, {"fallbacks": [name]}, "fallbacks[0]"),
        (RESPONSES, {"tools": [{**image, "model": name}]}, "tools[0].model"),
        (
            RESPONSES,
            {"tools": [{**image, "model": "gpt-4o", "svg": {"model": name}}]},
            "tools[0].svg.model",
        ),
        (RESPONSES, {"input": [item]}, "input[0].tools[0].model"),
        (RESPONSES, {"moderation": {"model": name}}, "moderation.model"),
    ]


WAYS = range(len(naming("")))


async def new_model(books: Books, **fields: Any) -> str:
    name = f"other-{uuid4().hex}"
    prices = {"input_usd": "10", "output_usd": "10", **fields}
    await books.set_price(name, **prices)
    return name


async def call(
    gateway: Client, upstream: Upstream, secret: str, way: tuple[Dialect, dict[str, Any], str]
) -> Any:
    dialect, fields, _ = way
    upstream.answers(dialect.answer)
    return await gateway.post(dialect.path, secret, dialect.body(**fields))


@pytest.mark.parametrize("number", WAYS)
@pytest.mark.parametrize("allowed", ["any", "plain", "with its provider"])
async def test_an_allowed_model_is_forwarded_unchanged(
    gateway: Client, upstream: Upstream, books: Books, number: int, allowed: str
) -> None:
    name = await new_model(books)
    way = naming(name)[number]
    dialect, fields, _ = way
    own = OWN[dialect.name]
    patterns = {
        "any": None,
        "plain": (own, "other-*"),
        "with its provider": (own, f"{PROVIDER[dialect.name]}/*"),
    }
    secret = await books.add_key(allowed_models=patterns[allowed])

    response = await call(gateway, upstream, secret, way)

    assert response.status_code == 200, response.text
    (request,) = upstream.requests
    assert request.fields == dialect.body(**fields)


@pytest.mark.parametrize("number", WAYS)
async def test_a_model_the_key_may_not_use_is_refused(
    gateway: Client, upstream: Upstream, books: Books, number: int
) -> None:
    way = naming(await new_model(books))[number]
    dialect, _, path = way
    secret = await books.add_key(allowed_models=(OWN[dialect.name],))

    response = await call(gateway, upstream, secret, way)

    error = dialect.check_error(response, 403, "model_not_allowed")
    assert f"'{path}'" in error["message"]
    assert error.get("param", path) == path
    assert upstream.requests == []
    event = await books.the_event(secret)
    assert (event.status, event.error_code) == ("refused", "model_not_allowed")
    assert await books.held(secret) == 0


@pytest.mark.parametrize("number", WAYS)
async def test_a_model_without_a_price_is_not_run(
    gateway: Client, upstream: Upstream, books: Books, number: int
) -> None:
    way = naming(f"unheard-of-{uuid4().hex}")[number]
    dialect, _, path = way
    secret = await books.add_key()

    response = await call(gateway, upstream, secret, way)

    error = dialect.check_error(response, 400, "model_not_priced")
    assert f"'{path}'" in error["message"]
    assert error.get("param", path) == path
    assert upstream.requests == []
    assert await books.held(secret) == 0


async def test_the_image_model_that_openai_chooses_counts_as_named(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    fields: dict[str, Any] = {"tools": [{"type": "image_generation"}]}
    way = (RESPONSES, fields, "tools[0].model")
    free, bound = await books.add_key(), await books.add_key(allowed_models=("gpt-4o",))

    refused = await call(gateway, upstream, bound, way)
    RESPONSES.check_error(refused, 403, "model_not_allowed")
    unpriced = await call(gateway, upstream, free, way)
    RESPONSES.check_error(unpriced, 400, "model_not_priced")
    assert upstream.requests == []

    endpoints = Endpoints(upstream, RESPONSES)
    await books.set_price(DEFAULT_IMAGE_MODEL, input_usd="1", output_usd="1", provider="gemini")
    elsewhere = deployment(upstream, "a", "gemini/gemini-tiny", formats=("responses",))
    body = RESPONSES.body(model=await add_route(books, elsewhere), **fields)
    assert (await gateway.post(RESPONSES.path, free, body)).status_code == 200
    assert endpoints.calls == ["a"]


async def test_a_deployment_whose_provider_has_no_price_for_it_is_skipped(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    endpoints = Endpoints(upstream)
    name = await new_model(books, provider="gemini")
    model = await add_route(
        books,
        deployment(upstream, "a", "openai/gpt-4o"),
        deployment(upstream, "b", "gemini/gemini-tiny", priority=1, formats=("chat",)),
    )
    secret = await books.add_key()

    body = CHAT.body(model=model)
    for payload in (body, {**body, "models": [name]}):
        assert (await gateway.post(CHAT.path, secret, payload)).status_code == 200

    assert endpoints.calls == ["a", "b"]


async def test_a_translation_runs_only_allowed_models(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    Endpoints(upstream, MESSAGES)
    secret = await books.add_key(allowed_models=("claude-haiku-4-5",))
    body = CHAT.body(model="claude-haiku-4-5", models=["claude-opus-5"])

    response = await gateway.post(CHAT.path, secret, body)

    CHAT.check_error(response, 403, "model_not_allowed")
    assert upstream.requests == []


async def test_models_named_by_embeddings_are_checked(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    model = f"openai/{await new_model(books)}"
    secret = await books.add_key(allowed_models=(model,))
    upstream.answers(b"{}")
    body = {"model": model, "input": "Hi", "models": ["another"]}

    response = await gateway.post("/v1/embeddings", secret, body)

    CHAT.check_error(response, 403, "model_not_allowed")
    assert upstream.requests == []


async def test_the_hold_covers_every_model_that_may_run(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    """Output alone is priced, so that the body's length does not matter: 100 tokens of it.

    The call's limit does not bind an adviser, which is held for at the default of 4,096.
    """
    own = f"own-{uuid4().hex}"
    await books.set_price(own, input_usd="0", output_usd="1")
    dear = await new_model(books, input_usd="0", output_usd="10")
    cheap = await new_model(books, input_usd="0", output_usd="0.5")
    fast = await new_model(books, input_usd="0", output_usd="1", surcharges={"fast": Decimal(4)})
    advisor = {"type": "advisor_20260301", "name": "advisor", "model": dear}
    for fields, dollars in (
        ({}, "0.0001"),
        ({"fallbacks": [{"model": cheap}]}, "0.0001"),
        ({"fallbacks": [{"model": cheap}, {"model": dear}]}, "0.001"),
        ({"fallbacks": [{"model": dear, "max_tokens": 1000}]}, "0.01"),
        ({"fallbacks": [{"model": fast}]}, "0.0001"),
        ({"fallbacks": [{"model": fast, "speed": "fast"}]}, "0.0004"),
        ({"tools": [{**advisor, "max_uses": 1}]}, "0.04106"),
        ({"tools": [{**advisor, "max_uses": 2, "max_tokens": 50}]}, "0.0011"),
        ({"tools": [advisor]}, "0.12298"),
        ({"tools": [{**advisor, "max_uses": 0}]}, "0.0001"),
    ):
        upstream.answers(MESSAGES.answer)
        secret = await books.add_key()
        body = MESSAGES.body(model=f"anthropic/{own}", **fields)
        response = await gateway.post(MESSAGES.path, secret, body)
        assert response.status_code == 200, response.text
        held_nusd = (await books.the_event(secret)).held_nusd
        assert held_nusd == Decimal(dollars) * 10**9, fields
