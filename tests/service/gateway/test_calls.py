"""Calls that go well: what the provider gets, what the client gets, and what the ledger gets."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, MESSAGES, TEXT_TOKENS, TOKENS, Dialect, chunk
from tests.service.gateway.stage import PROVIDER_KEY, Announcing, Client, open_gateway, with_parts
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What the price map says of every scripted answer: 20 and 7 tokens at 1 and 2 USD per million.
COST_NUSD = 20 * 1_000 + 7 * 2_000


async def send(
    gateway: Client, dialect: Dialect, headers: dict[str, str], **fields: Any
) -> httpx2.Response:
    return await gateway.http.post(dialect.path, json=dialect.body(**fields), headers=headers)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("credential", ["authorization", "x-api-key", "api-key"])
async def test_a_call_is_relayed_with_the_providers_key(
    gateway: Client,
    upstream: Upstream,
    books: Books,
    dialect: Dialect,
    stream: bool,
    credential: str,
) -> None:
    secret = await books.add_key()
    header = f"Bearer {secret}" if credential == "authorization" else secret
    dialect.served_by(upstream, stream=stream)

    response = await send(gateway, dialect, {credential: header}, stream=stream)

    assert response.status_code == 200
    assert response.content == (dialect.stream if stream else dialect.answer)
    request_id = response.headers["x-request-id"]
    assert response.headers["request-id"] == request_id
    (request,) = upstream.requests
    assert request.path == dialect.upstream_path
    assert request.fields == dialect.body(stream=stream)
    assert secret not in str(request)
    key_header = "x-api-key" if dialect is MESSAGES else "authorization"
    assert request.header(key_header) == f"{'' if dialect is MESSAGES else 'Bearer '}{PROVIDER_KEY}"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_call_leaves_an_event(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, stream: bool
) -> None:
    secret = await books.add_key()
    dialect.served_by(upstream, stream=stream)

    response = await send(gateway, dialect, {"x-api-key": secret}, stream=stream)

    event = await books.the_event(secret)
    assert (event.status, event.http_status) == ("ok", 200)
    assert event.call_id == response.headers["x-request-id"]
    assert (event.format, event.stream, event.translated) == (dialect.name, stream, False)
    assert (event.usage, event.usage_source) == (TOKENS, "provider")
    assert event.requested_model == event.model == dialect.model
    assert event.provider == ("anthropic" if dialect is MESSAGES else "openai")
    assert event.latency_ms is not None
    assert event.first_byte_ms is not None
    assert event.first_byte_ms <= event.latency_ms


async def test_only_the_formats_query_parameters_are_forwarded(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    secret = await books.add_key()
    dialect.served_by(upstream, stream=False)

    response = await gateway.http.post(
        f"{dialect.path}?beta=true&x=%0d%0ay", json=dialect.body(), headers={"x-api-key": secret}
    )

    assert response.status_code == 200
    (request,) = upstream.requests
    query = "?beta=true" if dialect.name == "messages" else ""
    assert request.path == f"{dialect.upstream_path}{query}"


async def test_a_hold_is_settled_at_the_calls_cost(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    """Until the ledger has posted it."""
    secret = await books.add_key()
    upstream.answers(dialect.answer)

    await gateway.post(dialect.path, secret, dialect.body())

    event = await books.the_event(secret)
    # A hundred output tokens at 2 USD per million, and the input by its bytes.
    assert event.held_nusd > 100 * 2_000
    assert await books.held(secret) == COST_NUSD


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_accounts_multiplier_applies_from_the_hold_on(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, stream: bool
) -> None:
    plain = await books.add_key()
    user_id = await books.add_account(price_multiplier=Decimal("1.5"))
    secret = await books.add_key(user_id)
    dialect.served_by(upstream, stream=stream)

    await gateway.post(dialect.path, plain, dialect.body(stream=stream))
    response = await gateway.post(dialect.path, secret, dialect.body(stream=stream))

    event = await books.the_event(secret)
    assert event.account_multiplier == Decimal("1.5")
    plain_event = await books.the_event(plain)
    assert event.held_nusd == plain_event.held_nusd * Decimal("1.5")
    assert await books.held(secret) == COST_NUSD * Decimal("1.5")
    if not stream:
        assert response.headers["x-gateway-cost-usd"] == "0.000051"


async def test_request_bytes_are_forwarded_unchanged(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    upstream.answers(CHAT.answer)
    raw = (
        b'{ "seed":12345678901234567890123,"model":"openai/gpt-4o" ,"new_field": {"b" : [1.50 ],'
        b'"a":"\\u00e9\\/"},"messages":[] }'
    )

    await gateway.post(CHAT.path, await books.add_key(), raw)

    assert upstream.requests[0].body == (
        b'{"seed":12345678901234567890123,"model":"gpt-4o","new_field":{"b" : [1.50 ],'
        b'"a":"\\u00e9\\/"},"messages":[]}'
    )


async def test_headers_are_forwarded_except_forbidden_ones(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    secret = await books.add_key()
    upstream.answers(
        MESSAGES.answer,
        headers={
            "request-id": "req_1",
            "x-ratelimit-limit-requests": "5",
            "anthropic-organization-id": "the operator's",
            "retry-after": "1",
        },
    )
    passed = {
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "a,b",
        "x-stainless-lang": "python",
        "user-agent": "SDK/1",
        "accept": "*/*",
    }
    stopped = {
        "cookie": "a=b",
        "x-forwarded-for": "1.2.3.4",
        "x-request-id": "mine",
        "openai-organization": "org",
        "baggage": "user=alice",
        "idempotency-key": "1",
        "x-internal-token": "t",
    }

    response = await gateway.post(MESSAGES.path, secret, MESSAGES.body(), {**passed, **stopped})

    request = upstream.requests[0]
    assert {name: request.header(name) for name in passed} == passed
    own = {"host", "content-length", "content-type", "accept-encoding", "x-api-key", "x-request-id"}
    assert {name for name, _ in request.headers} == passed.keys() | own
    assert request.header("x-request-id") == response.headers["x-request-id"] != "mine"
    assert response.headers["retry-after"] == "1"
    assert "anthropic-organization-id" not in response.headers
    assert "x-ratelimit-limit-requests" not in response.headers
    assert (await books.the_event(secret)).provider_request_id == "req_1"


async def test_usage_is_requested_and_stripped_if_the_client_did_not_ask(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    secret = await books.add_key()
    upstream.streams(CHAT.frames)
    body = CHAT.body(stream=True)
    del body["stream_options"]

    response = await gateway.post(CHAT.path, secret, body)

    assert upstream.requests[0].fields["stream_options"] == {"include_usage": True}
    assert b"usage" not in response.content
    frames = response.content.split(b"\n\n")
    assert [json.loads(frame[6:])["choices"][0]["delta"] for frame in frames[:2]] == [
        {"role": "assistant"},
        {"content": "Good day to you."},
    ]
    assert frames[2:] == [b"data: [DONE]", b""]
    assert (await books.the_event(secret)).usage == TOKENS


async def test_a_stream_is_neither_buffered_nor_delayed(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    upstream.streams(dialect.frames)

    response = await gateway.post(dialect.path, await books.add_key(), dialect.body(stream=True))

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"


async def test_the_time_that_a_provider_streams_is_not_the_gateways_own(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    """The entry says what the head of the answer said, before the stream took its time."""
    upstream.streams(dialect.frames)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=True))

    overhead_ms = float(response.headers["x-gateway-overhead-ms"])
    assert (await books.the_event(secret)).overhead_ms == overhead_ms


async def test_the_providers_connection_is_reused(
    upstream: Upstream, books: Books, settings_with: SettingsWith, dialect: Dialect
) -> None:
    """Also after a stream, whose end comes a moment after its last frame."""
    committing = asyncio.Event()

    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.begin_stream()
        await connection.chunk(dialect.stream)
        await committing.wait()
        committing.clear()
        await connection.end_stream()

    upstream.does(script)
    before, secret = upstream.connections, await books.add_key()
    factory = with_parts(lambda gateway, *_: {"meter": Announcing(gateway.meter, committing)})
    async with open_gateway(settings_with(), factory) as gateway:
        for _ in range(3):
            await gateway.post(dialect.path, secret, dialect.body(stream=True))

    assert upstream.connections == before + 1


async def test_unreported_usage_is_estimated(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    secret = await books.add_key()
    whole = {name: value for name, value in dialect.whole.items() if name != "usage"}
    upstream.answers(json.dumps(whole).encode())
    body = json.dumps(dialect.body()).encode()

    response = await gateway.post(dialect.path, secret, body)

    assert response.json() == whole
    event = await books.the_event(secret)
    assert (event.status, event.usage_source) == ("ok", "estimated")
    assert event.usage is not None
    assert event.usage.input_text is not None
    # Of JSON, a token is more than the three bytes by which holds are taken.
    assert 5 < event.usage.input_text < len(body) // 3
    assert event.usage.output_text == TEXT_TOKENS


async def test_a_chat_stream_without_usage_is_estimated(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    secret = await books.add_key()
    upstream.streams([chunk({"content": "12345678"}), b"data: [DONE]\n\n"])

    await gateway.post(CHAT.path, secret, CHAT.body(stream=True))

    event = await books.the_event(secret)
    assert (event.status, event.usage_source) == ("ok", "estimated")
    assert event.usage is not None
    # "123", "456", "78".
    assert event.usage.output_text == 3


async def test_names_chosen_by_others_are_cut(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    """They are stored with every event."""
    secret = await books.add_key()
    upstream.answers(CHAT.answer, headers={"x-request-id": "r" * 5_000})

    await gateway.post(CHAT.path, secret, CHAT.body(user="u" * 50_000))

    event = await books.the_event(secret)
    assert event.client_user == "u" * 256
    assert event.provider_request_id == "r" * 256
