"""Single models, embeddings and token counts, and the entries that they leave."""

import base64
import struct
from typing import Any

import pytest

from libs.common.schemas.usage import TokenUsage
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, MESSAGES
from tests.service.gateway.routes import add_route, deployment
from tests.service.gateway.stage import (
    CHAT_MODEL,
    MESSAGES_MODEL,
    OTHER_MODEL,
    PROVIDER_KEY,
    Client,
    bearer,
    open_gateway,
)
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANTHROPIC = {"anthropic-version": "2023-06-01"}
VECTOR = [0.5, -1.0, 2.0]
EMBEDDINGS = b"""{ "object": "list", "model": "text-embedding-3-small",
 "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0, 2.0]}],
 "usage": {"prompt_tokens": 6, "total_tokens": 6}, "unknown": 1 }"""
EMBEDDING_MODEL = "openai/text-embedding-3-small"
SOME = [{"role": "user", "content": "How many tokens are in this?"}]
PROMPTS: dict[str, dict[str, Any]] = {
    "/v1/messages/count_tokens": {"messages": SOME},
    "/v1/responses/input_tokens": {"input": "How many tokens are in this?"},
}


@pytest.mark.parametrize("name", [CHAT_MODEL, f"openai/{CHAT_MODEL}", OTHER_MODEL])
async def test_a_model_is_described(gateway: Client, books: Books, name: str) -> None:
    await books.set_price(f"openai/{CHAT_MODEL}", input_usd="1", output_usd="1")
    headers = bearer(await books.add_key())

    openai = await gateway.http.get(f"/v1/models/{name}", headers=headers)
    anthropic = await gateway.http.get(f"/v1/models/{name}", headers={**headers, **ANTHROPIC})

    assert (openai.status_code, openai.json()["id"]) == (200, name)
    assert openai.json()["object"] == "model"
    assert (anthropic.status_code, anthropic.json()["id"]) == (200, name)
    assert anthropic.json()["type"] == "model"


@pytest.mark.parametrize("name", ["nothing", "no/such/model", "openai/unpriced", MESSAGES_MODEL])
async def test_a_model_the_key_may_not_use_is_not_found(
    gateway: Client, books: Books, name: str
) -> None:
    headers = bearer(await books.add_key(allowed_models=("gpt-*", "no*", "openai/*")))

    openai = await gateway.http.get(f"/v1/models/{name}", headers=headers)
    anthropic = await gateway.http.get(f"/v1/models/{name}", headers={**headers, **ANTHROPIC})

    CHAT.check_error(openai, 404, "model_not_found")
    MESSAGES.check_error(anthropic, 404, "model_not_found")


async def test_describing_a_model_needs_a_key(gateway: Client, books: Books) -> None:
    revoked = bearer(await books.add_key(status="revoked"))

    for headers, code in (({}, "invalid_api_key"), (revoked, "api_key_revoked")):
        response = await gateway.http.get(f"/v1/models/{CHAT_MODEL}", headers=headers)
        CHAT.check_error(response, 401, code)


async def test_embeddings_are_relayed_and_charged(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    await books.set_price(EMBEDDING_MODEL, input_usd="20", output_usd="0")
    secret = await books.add_key(await books.add_account(limit_usd="1"))
    upstream.answers(EMBEDDINGS)
    body = {"model": EMBEDDING_MODEL, "input": ["a", "b"], "encoding_format": "base64", "user": "u"}

    response = await gateway.post("/v1/embeddings", secret, body)

    assert (response.status_code, response.content) == (200, EMBEDDINGS)
    assert response.headers["x-gateway-cost-usd"] == "0.00012"
    (request,) = upstream.requests
    assert request.path == "/v1/embeddings"
    assert request.fields == {**body, "model": "text-embedding-3-small"}
    assert request.header("authorization") == f"Bearer {PROVIDER_KEY}"
    event = await books.the_event(secret)
    assert (event.format, event.operation, event.status) == ("embeddings", "create", "ok")
    assert event.usage == TokenUsage(input_text=6, output_text=0)
    assert (event.usage_source, event.translated, event.client_user) == ("provider", False, "u")
    assert await books.held(secret) == 120_000


async def test_embeddings_without_usage_are_estimated(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    await books.set_price(EMBEDDING_MODEL, input_usd="20", output_usd="0")
    secret = await books.add_key()
    upstream.answers(b'{"object": "list", "data": []}')

    await gateway.post("/v1/embeddings", secret, {"model": EMBEDDING_MODEL, "input": "x" * 300})

    event = await books.the_event(secret)
    assert event.usage is not None
    assert event.usage.input_text is not None
    assert 30 < event.usage.input_text < 100
    assert (event.usage.output_text, event.usage_source) == (0, "estimated")


@pytest.mark.parametrize("encoding", ["float", "base64", None])
async def test_embeddings_are_translated(
    gateway: Client, books: Books, upstream: Upstream, encoding: str | None
) -> None:
    await books.set_price("mistral/mistral-embed", input_usd="20", output_usd="0")
    secret = await books.add_key()
    upstream.answers(EMBEDDINGS)
    model = await add_route(books, deployment(upstream, "m", "mistral/mistral-embed"))
    body = {"model": model, "input": ["a"], "user": "u"}
    if encoding is not None:
        body["encoding_format"] = encoding

    response = await gateway.post("/v1/embeddings", secret, body)

    assert response.status_code == 200, response.text
    (row,) = response.json()["data"]
    packed = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
    assert row == {
        "object": "embedding",
        "index": 0,
        "embedding": packed if encoding == "base64" else VECTOR,
    }
    assert response.json()["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    (request,) = upstream.requests
    assert request.fields["input"] == ["a"]
    assert "encoding_format" not in request.fields
    event = await books.the_event(secret)
    assert event.usage == TokenUsage(input_text=6, output_text=0)
    assert (event.translated, event.usage_source) == (True, "provider")


@pytest.mark.parametrize(
    ("field", "value"), [("dimensions", 64), ("encoding_format", "hex"), ("api_base", "http://x")]
)
async def test_untranslatable_embedding_parameters_are_named(
    gateway: Client, books: Books, upstream: Upstream, field: str, value: Any
) -> None:
    await books.set_price("mistral/mistral-embed", input_usd="20", output_usd="0")
    secret = await books.add_key()
    upstream.answers(EMBEDDINGS)
    model = await add_route(books, deployment(upstream, "m", "mistral/mistral-embed"))
    body = {"model": model, "input": "a", field: value}

    response = await gateway.post("/v1/embeddings", secret, body)

    assert response.status_code == 400
    assert field in response.json()["error"]["message"]
    assert upstream.requests == []


async def test_embeddings_over_the_budget_are_refused(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    await books.set_price(EMBEDDING_MODEL, input_usd="20", output_usd="0")
    secret = await books.add_key(await books.add_account(limit_usd="0.001"))
    upstream.answers(EMBEDDINGS)

    body = {"model": EMBEDDING_MODEL, "input": "x" * 3000}
    response = await gateway.post("/v1/embeddings", secret, body)

    CHAT.check_error(response, 402, "insufficient_quota")
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("path", "model"),
    [("/v1/messages/count_tokens", MESSAGES_MODEL), ("/v1/responses/input_tokens", CHAT_MODEL)],
)
async def test_a_count_is_relayed_and_free(
    gateway: Client, books: Books, upstream: Upstream, path: str, model: str
) -> None:
    secret = await books.add_key(await books.add_account(limit_usd="0"))
    upstream.answers(b'{ "input_tokens": 123 }')
    body = {"model": model, **PROMPTS[path]}

    response = await gateway.post(f"{path}?beta=true&x=1", secret, body)

    assert (response.status_code, response.content) == (200, b'{ "input_tokens": 123 }')
    (request,) = upstream.requests
    query = "?beta=true" if model == MESSAGES_MODEL else ""
    assert (request.path, request.fields) == (f"{path}{query}", body)
    event = await books.the_event(secret)
    assert (event.operation, event.status, event.requested_model) == ("count", "ok", model)
    assert (event.usage, event.usage_source, event.held_nusd) == (None, "none", 0)
    assert await books.held(secret) == 0


@pytest.mark.parametrize("path", PROMPTS)
async def test_a_count_is_estimated_where_the_provider_does_not_speak_the_format(
    gateway: Client, books: Books, path: str
) -> None:
    secret = await books.add_key()
    tools = [{"name": "weather", "input_schema": {"type": "object"}}]
    if path.startswith("/v1/responses"):
        tools = [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]

    body = {"model": OTHER_MODEL, **PROMPTS[path]}
    plain = await gateway.post(path, secret, body)
    more = await gateway.post(path, secret, {**body, "tools": tools})

    assert plain.status_code == 200, plain.text
    assert 5 <= plain.json()["input_tokens"] <= 25
    assert more.json()["input_tokens"] > plain.json()["input_tokens"]
    first, second = await books.events(secret)
    for event in (first, second):
        assert (event.operation, event.status, event.usage) == ("count", "ok", None)


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_count_is_estimated_where_the_server_cannot_count(
    gateway: Client, books: Books, upstream: Upstream, status: int
) -> None:
    upstream.answers(b'{"detail": "Not Found"}', status=status)

    body = {"model": MESSAGES_MODEL, "messages": SOME}
    response = await gateway.post("/v1/messages/count_tokens", await books.add_key(), body)

    assert response.status_code == 200
    assert 8 <= response.json()["input_tokens"] <= 25


async def test_a_count_refused_by_the_provider_is_passed_on(
    gateway: Client, books: Books, upstream: Upstream
) -> None:
    secret = await books.add_key()
    upstream.answers(b'{"type": "error", "error": {"type": "x", "message": "no"}}', status=400)

    body = {"model": MESSAGES_MODEL, "messages": SOME}
    response = await gateway.post("/v1/messages/count_tokens", secret, body)

    assert (response.status_code, response.json()["error"]["message"]) == (400, "no")
    event = await books.the_event(secret)
    assert (event.status, event.http_status) == ("upstream_error", 400)


async def test_a_count_needs_a_key_that_may_use_the_model(gateway: Client, books: Books) -> None:
    secret = await books.add_key(allowed_models=("gpt-*",))
    body = {"model": MESSAGES_MODEL, "messages": SOME}

    unknown = await gateway.post("/v1/messages/count_tokens", "sk-gw-wrong", body)
    MESSAGES.check_error(unknown, 401, "invalid_api_key")
    other = await gateway.post("/v1/messages/count_tokens", secret, body)
    MESSAGES.check_error(other, 403, "model_not_allowed")
    unread = await gateway.post("/v1/messages/count_tokens", secret, b"{")
    MESSAGES.check_error(unread, 400, "invalid_json")
    wrong = await gateway.http.get("/v1/messages/count_tokens", headers=bearer(secret))
    MESSAGES.check_error(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    statuses = [event.http_status for event in await books.events(secret)]
    assert statuses == [403, 400, 405]


async def test_a_long_prompt_is_counted_by_its_bytes(
    settings_with: SettingsWith, books: Books
) -> None:
    body = {"model": OTHER_MODEL, "input": "word " * 210_000}

    async with open_gateway(settings_with()) as gateway:
        response = await gateway.post("/v1/responses/input_tokens", await books.add_key(), body)

    assert response.status_code == 200
    assert 262_500 <= response.json()["input_tokens"] < 263_000
