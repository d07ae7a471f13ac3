"""Calls by a route's name: which deployment gets them, and what it is sent."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from libs.common.domain.route_tests import TEST_USER_ID
from libs.common.schemas.profile import ProfileFields
from libs.common.schemas.route import Deployment, Timeouts
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.routes import RouteStore
from libs.common.storage.redis.cooldowns import CooldownStore
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, MESSAGES, Dialect
from tests.service.gateway.routes import Endpoints, add_route, announce, deployment
from tests.service.gateway.stage import PROVIDER_KEY, Client, open_gateway
from tests.service.gateway.translation_wire import ANTHROPIC_MESSAGE, anthropic_sse
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books
from tests.support.polling import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOO_LONG = {"error": {"message": "too long", "code": "context_length_exceeded"}}
QUICK = Timeouts(first_byte=0.3)


async def call(
    gateway: Client, secret: str, model: str, dialect: Dialect = CHAT, **fields: Any
) -> httpx2.Response:
    return await gateway.post(dialect.path, secret, dialect.body(**fields) | {"model": model})


async def stalls(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
    await connection.closed()


async def test_answer_and_entry_name_the_deployment(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    endpoints = Endpoints(upstream)
    endpoints.fails("a", 500)
    last = deployment(upstream, "b", priority=1)
    model = await add_route(books, last, deployment(upstream, "a"))
    secret = await books.add_key()

    response = await call(gateway, secret, model)

    assert response.content == CHAT.answer
    assert endpoints.calls == ["a", "b"]
    assert response.headers["x-gateway-model"] == "openai/gpt-4o"
    assert response.headers["x-gateway-attempts"] == "2"
    assert response.headers["x-gateway-cost-usd"] == "0.000034"
    assert float(response.headers["x-gateway-overhead-ms"]) >= 0
    assert upstream.requests[-1].fields["model"] == "gpt-4o"
    event = await books.the_event(secret)
    assert (event.deployment, event.attempts) == (last.deployment_id, 2)
    assert (event.requested_model, event.model, event.provider) == (model, "gpt-4o", "openai")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_every_format_is_routed(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, stream: bool
) -> None:
    """An endpoint that speaks all three has one base, whatever each format's path is below it."""
    endpoints = Endpoints(upstream, dialect)
    formats = ("chat", "messages", "responses")
    model = await add_route(books, deployment(upstream, "a", formats=formats))
    secret = await books.add_key()

    response = await call(gateway, secret, model, dialect, stream=stream)

    assert response.content == (dialect.stream if stream else dialect.answer)
    assert endpoints.calls == ["a"]
    assert upstream.requests[0].path == f"/a{dialect.upstream_path}"
    event = await books.the_event(secret)
    assert (event.translated, event.attempts) == (False, 1)
    assert response.headers["x-gateway-attempts"] == "1"


async def test_equal_priorities_share_calls_by_weight(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    endpoints = Endpoints(upstream)
    model = await add_route(
        books, deployment(upstream, "a", weight=1000), deployment(upstream, "b", weight=1000)
    )
    secret = await books.add_key()
    for _ in range(32):
        await call(gateway, secret, model)
    # By chance alone one of them is left out once in 2^31 runs.
    assert set(Counter(endpoints.calls)) == {"a", "b"}


async def test_fallbacks_are_routes_or_plain_models(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    endpoints = Endpoints(upstream)
    for name in "ab":
        endpoints.fails(name, 503)
    other = await add_route(books, deployment(upstream, "b"))
    model = await add_route(books, deployment(upstream, "a"), fallbacks=(other, "gpt-4o", "none"))
    secret = await books.add_key()

    response = await call(gateway, secret, model)

    assert response.status_code == 200
    assert endpoints.calls == ["a", "b", "v1"]
    assert (await books.the_event(secret)).deployment == "openai/gpt-4o"


async def test_the_last_failure_is_passed_on(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    endpoints = Endpoints(upstream, dialect)
    endpoints.fails("a", 404)
    endpoints.fails("b", 429, {"error": "mine"}, retry_after="60")
    formats = (dialect.name,)
    model = await add_route(
        books,
        deployment(upstream, "a", formats=formats),
        deployment(upstream, "b", formats=formats, priority=1),
    )
    secret = await books.add_key()

    response = await call(gateway, secret, model, dialect)

    assert (response.status_code, response.json()) == (429, {"error": "mine"})
    assert response.headers["retry-after"] == "60"
    event = await books.the_event(secret)
    assert (event.status, event.http_status, event.attempts) == ("upstream_error", 429, 2)
    assert await books.held(secret) == 0


async def test_a_prompt_that_is_too_long_falls_back_to_a_larger_model(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    endpoints = Endpoints(upstream)
    endpoints.fails("a", 400, TOO_LONG)
    larger = await add_route(books, deployment(upstream, "large"))
    smaller = await add_route(books, deployment(upstream, "other"))
    model = await add_route(
        books, deployment(upstream, "a"), fallbacks=(smaller,), context_fallbacks=(larger,)
    )
    response = await call(gateway, await books.add_key(), model)
    assert response.status_code == 200
    assert endpoints.calls == ["a", "large"]


async def test_a_cooldown_holds_on_all_replicas(
    gateway: Client, upstream: Upstream, books: Books, settings_with: SettingsWith
) -> None:
    endpoints = Endpoints(upstream)
    endpoints.fails("a", 429, retry_after="60")
    limited = deployment(upstream, "a")
    second = deployment(upstream, "b", priority=1)
    model = await add_route(books, limited, second, cooldown_after=1)
    secret = await books.add_key()
    async with open_gateway(settings_with()) as other:
        for each in (await books.add_key(), await books.add_key()):
            assert (await call(gateway, each, model)).status_code == 200
        assert endpoints.calls == ["a", "b"] * 2
        store = CooldownStore(books.redis)
        async with asyncio.timeout(PATIENCE_S):
            while limited.deployment_id not in await store.active(now_s=0):
                await asyncio.sleep(0.02)
            # The other replica learns of it within a second; until then it asks.
            while endpoints.calls[-2:] != ["b", "b"]:
                await call(other, secret, model)
        upstream.requests.clear()
        for replica in (gateway, other):
            await call(replica, secret, model)
        assert endpoints.calls == ["b", "b"]


async def test_a_full_deployment_is_skipped_and_refuses_if_alone(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    endpoints = Endpoints(upstream)
    entered, gate = asyncio.Event(), asyncio.Event()

    async def waits(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        entered.set()
        await gate.wait()
        await connection.answer(CHAT.answer)

    endpoints.does("a", waits)
    full = deployment(upstream, "a", max_parallel=1)
    alone = await add_route(books, full)
    model = await add_route(books, full, deployment(upstream, "b", priority=1))
    secret, busy = await books.add_key(), await books.add_key()
    first = asyncio.create_task(call(gateway, secret, model))
    await entered.wait()

    assert (await call(gateway, secret, model)).status_code == 200
    assert endpoints.calls == ["a", "b"]
    refused = await call(gateway, busy, alone)
    CHAT.check_error(refused, 429, "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "1"
    event = await books.the_event(busy)
    assert (event.status, event.attempts) == ("refused", 0)
    assert await books.held(busy) == 0

    gate.set()
    assert (await first).status_code == 200
    assert (await call(gateway, busy, alone)).status_code == 200


async def test_a_deployments_own_credential(
    upstream: Upstream, books: Books, settings_with: SettingsWith, tmp_path: Path
) -> None:
    Endpoints(upstream)
    (tmp_path / "team-key").write_text("sk-team\n")
    model = await add_route(books, deployment(upstream, "a", credential="file:team-key"))
    own = await add_route(books, deployment(upstream, "a", credential="file:gone"))
    secret = await books.add_key()
    async with open_gateway(settings_with(secrets_dir=str(tmp_path))) as gateway:
        assert (await call(gateway, secret, model)).status_code == 200
        assert upstream.requests[0].header("authorization") == "Bearer sk-team"
        missing = await call(gateway, secret, own)
    assert missing.status_code == 503
    assert "file:gone" in missing.text
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "model", ["openai/gpt-4o", "anthropic/claude-haiku-4-5", "gemini/gemini-tiny"]
)
async def test_another_address_never_gets_the_providers_own_key(
    gateway: Client,
    upstream: Upstream,
    books: Books,
    dialect: Dialect,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Relayed or translated: LiteLLM would look for a key in the environment."""
    for name in ("OPENAI", "ANTHROPIC", "MISTRAL"):
        monkeypatch.setenv(f"{name}_API_KEY", PROVIDER_KEY)
    Endpoints(upstream)
    route = await add_route(books, deployment(upstream, "a", model), max_attempts=1)

    await call(gateway, await books.add_key(), route, dialect)

    (request,) = upstream.requests
    assert request.path.startswith("/a/v1/")
    assert PROVIDER_KEY not in str(request)


async def test_a_route_that_only_names_a_model_uses_the_providers_key(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    endpoints = Endpoints(upstream)
    model = await add_route(books, Deployment(deployment_id="plain", model="openai/gpt-4o"))
    assert (await call(gateway, await books.add_key(), model)).status_code == 200
    assert endpoints.calls == ["v1"]
    assert upstream.requests[0].header("authorization") == f"Bearer {PROVIDER_KEY}"


async def test_a_provider_that_never_answers_times_out(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    endpoints = Endpoints(upstream)
    endpoints.does("a", stalls)
    slow = deployment(upstream, "a", timeouts=QUICK)
    model = await add_route(books, slow, deployment(upstream, "b", priority=1))
    alone = await add_route(books, slow)
    secret = await books.add_key()
    assert (await call(gateway, secret, model)).status_code == 200
    assert endpoints.calls == ["a", "b"]

    CHAT.check_error(await call(gateway, secret, alone), 504, "upstream_timeout")
    assert endpoints.calls == ["a", "b", "a"]


async def test_a_stream_that_stalls_before_its_first_byte_is_tried_elsewhere(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.begin_stream()
        await connection.closed()

    endpoints = Endpoints(upstream)
    endpoints.does("a", script)
    model = await add_route(
        books, deployment(upstream, "a", timeouts=QUICK), deployment(upstream, "b", priority=1)
    )
    secret = await books.add_key()

    response = await call(gateway, secret, model, stream=True)

    assert endpoints.calls == ["a", "b"]
    assert response.content == b"".join(CHAT.frames)
    event = await books.the_event(secret)
    assert (event.status, event.attempts) == ("ok", 2)


@pytest.mark.parametrize(
    "frames",
    [
        b'data: {"error": {"message": "busy", "type": "overloaded_error"}}\n\n',
        b': waking up\n\ndata: {"error": {"message": "busy"}}\n\ndata: [DONE]\n\n',
    ],
)
async def test_a_stream_that_begins_with_an_error_is_tried_elsewhere(
    gateway: Client, upstream: Upstream, books: Books, frames: bytes
) -> None:
    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.begin_stream()
        await connection.chunk(frames)
        await connection.end_stream()

    endpoints = Endpoints(upstream)
    endpoints.does("a", script)
    model = await add_route(books, deployment(upstream, "a"), deployment(upstream, "b", priority=1))
    secret = await books.add_key()

    response = await call(gateway, secret, model, stream=True)

    assert endpoints.calls == ["a", "b"]
    assert response.content == b"".join(CHAT.frames)
    event = await books.the_event(secret)
    assert (event.status, event.attempts) == ("ok", 2)


async def test_an_error_under_status_200_is_tried_elsewhere_and_told_with_a_status(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    content = b'{"error": {"message": "their own words", "type": "overloaded_error"}}'

    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.answer(content)

    endpoints = Endpoints(upstream)
    for name in "ab":
        endpoints.does(name, script)
    model = await add_route(
        books, deployment(upstream, "a"), deployment(upstream, "b", priority=1), max_attempts=2
    )
    secret = await books.add_key()

    response = await call(gateway, secret, model)

    assert endpoints.calls == ["a", "b"]
    assert response.status_code == 529
    assert response.json()["error"]["message"] == "their own words"
    event = await books.the_event(secret)
    assert (event.status, event.usage) == ("upstream_error", None)


@pytest.mark.parametrize(
    ("timeouts", "shown"),
    [(Timeouts(between_bytes=0.3), 2), (Timeouts(first_byte=30, between_bytes=0.3), 2)],
    ids=["between bytes", "both"],
)
async def test_a_stalled_stream_ends_with_an_error_and_is_not_retried(
    gateway: Client, upstream: Upstream, books: Books, timeouts: Timeouts, shown: int
) -> None:
    """Its headers are out, so the client would get two beginnings."""

    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.begin_stream()
        for frame in CHAT.frames[:shown]:
            await connection.chunk(frame)
        await connection.closed()

    endpoints = Endpoints(upstream)
    endpoints.does("a", script)
    model = await add_route(
        books, deployment(upstream, "a", timeouts=timeouts), deployment(upstream, "b", priority=1)
    )
    secret = await books.add_key()

    response = await call(gateway, secret, model, stream=True)

    assert endpoints.calls == ["a"]
    assert response.content.startswith(b"".join(CHAT.frames[:shown]))
    last = json.loads(response.content.strip().rpartition(b"data: ")[2])
    assert last["error"]["code"] == "upstream_timeout"
    event = await books.the_event(secret)
    assert (event.status, event.error_code) == ("upstream_error", "upstream_timeout")


async def test_the_first_byte_has_its_own_timeout(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        # Longer than the pause that is allowed between bytes.
        await asyncio.sleep(0.4)
        await connection.answer(CHAT.answer)

    endpoints = Endpoints(upstream)
    endpoints.does("a", script)
    patient = Timeouts(first_byte=PATIENCE_S, between_bytes=0.1)
    model = await add_route(books, deployment(upstream, "a", timeouts=patient))
    assert (await call(gateway, await books.add_key(), model)).status_code == 200


async def test_a_deployment_without_a_price_is_not_called(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    endpoints = Endpoints(upstream)
    unpriced = deployment(upstream, "a", "openai/unheard-of")
    model = await add_route(books, unpriced, deployment(upstream, "b", priority=1))
    larger = await add_route(books, deployment(upstream, "c"))
    alone = await add_route(books, unpriced, context_fallbacks=(larger,))
    secret = await books.add_key()
    assert (await call(gateway, secret, model)).status_code == 200
    assert endpoints.calls == ["b"]

    CHAT.check_error(await call(gateway, secret, alone), 400, "model_not_priced")
    assert endpoints.calls == ["b"]


async def test_models_without_a_route_can_be_disabled(
    upstream: Upstream, books: Books, settings_with: SettingsWith
) -> None:
    Endpoints(upstream)
    model = await add_route(books, deployment(upstream, "a"))
    secret = await books.add_key(allowed_models=(model, "gpt-4o"))
    async with open_gateway(settings_with(allow_unrouted_models=False)) as gateway:
        CHAT.check_error(await call(gateway, secret, "gpt-4o"), 404, "model_not_found")
        assert (await call(gateway, secret, model)).status_code == 200
        models = await gateway.http.get("/v1/models", headers={"authorization": f"Bearer {secret}"})
        assert [row["id"] for row in models.json()["data"]] == [model]


async def test_routes_are_listed_beside_other_models(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    model = await add_route(books, deployment(upstream, "a"))
    secret = await books.add_key()
    for extra in ({}, {"anthropic-version": "2023-06-01"}):
        headers = {"authorization": f"Bearer {secret}", **extra}
        response = await gateway.http.get("/v1/models", headers=headers)
        assert {model, "gpt-4o"} <= {row["id"] for row in response.json()["data"]}


async def test_a_changed_route_takes_effect(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    """Its own callers, and those of routes that fall back to it."""
    endpoints = Endpoints(upstream)
    endpoints.fails("a", 500)
    model = await add_route(books, deployment(upstream, "b"))
    other = await add_route(books, deployment(upstream, "a"), fallbacks=(model,))
    secret = await books.add_key()
    await call(gateway, secret, model)
    await call(gateway, secret, other)
    assert endpoints.calls == ["b", "a", "b"]

    store = RouteStore(books.database)
    new_deployment = msgspec.to_builtins(deployment(upstream, "c"))
    assert await store.update(model, {"deployments": [new_deployment]})
    await announce(books, model)
    async with asyncio.timeout(PATIENCE_S):
        while endpoints.calls[-1] != "c":
            await call(gateway, secret, model)
    await call(gateway, secret, other)
    assert endpoints.calls[-2:] == ["a", "c"]

    await store.delete(model)
    await announce(books, model)
    async with asyncio.timeout(PATIENCE_S):
        while (response := await call(gateway, secret, model)).status_code == 200:
            pass
    CHAT.check_error(response, 404, "model_not_found")


async def test_a_route_test_selects_its_deployment(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    endpoints = Endpoints(upstream)
    endpoints.fails("b", 500)
    second = deployment(upstream, "b", priority=1)
    model = await add_route(books, deployment(upstream, "a"), second)
    if await AccountStore(books.database).get(TEST_USER_ID) is None:
        await books.add_account(TEST_USER_ID)
    pin = {"x-gateway-deployment": second.deployment_id}
    body = CHAT.body() | {"model": model}

    tested = await gateway.post(CHAT.path, await books.add_key(TEST_USER_ID), body, pin)
    assert (tested.status_code, endpoints.calls) == (500, ["b"])
    assert upstream.requests[0].header("x-gateway-deployment") is None

    anyone = await gateway.post(CHAT.path, await books.add_key(), body, pin)
    assert (anyone.status_code, endpoints.calls) == (200, ["b", "a"])

    pin["x-gateway-deployment"] = "gone"
    gone = await gateway.post(CHAT.path, await books.add_key(TEST_USER_ID), body, pin)
    CHAT.check_error(gone, 404, "model_not_found")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_route_can_drop_untranslatable_parameters(
    gateway: Client, upstream: Upstream, books: Books, stream: bool
) -> None:
    endpoints = Endpoints(upstream)
    if stream:
        endpoints.streams("a", anthropic_sse())
    else:
        endpoints.answers("a", ANTHROPIC_MESSAGE)
    model = "anthropic/claude-haiku-4-5"
    strict = await add_route(books, deployment(upstream, "a", model))
    lax = await add_route(books, deployment(upstream, "a", model, drop_params=True))
    secret = await books.add_key()
    fields: dict[str, Any] = {
        "stream": stream,
        "moderation": True,
        "logit_bias": {"5": 1},
        "presence_penalty": 1,
        "bad\r\nx-injected: yes": 1,
    }
    refused = await call(gateway, secret, strict, **fields)
    CHAT.check_error(refused, 400, "unsupported_field")
    assert upstream.requests == []

    response = await call(gateway, secret, lax, **fields)

    assert response.status_code == 200, response.text
    dropped = response.headers["x-gateway-dropped-params"].split(", ")
    assert sorted(dropped) == ["logit_bias", "moderation", "presence_penalty"]
    assert "x-injected" not in response.headers
    (request,) = upstream.requests
    assert not request.fields.keys() & {"moderation", "logit_bias", "presence_penalty"}
    assert request.fields["messages"][0]["role"] == "user"


@pytest.mark.parametrize("provider", ["azure", "hosted_vllm", "groq", "openrouter", "ollama"])
async def test_a_provider_of_the_table_is_relayed_to(
    gateway: Client, upstream: Upstream, books: Books, provider: str
) -> None:
    """With what no type of ours knows, by the deployment's address and credential alone."""
    endpoints = Endpoints(upstream)
    model = f"{provider}/mine"
    await books.set_price(model, input_usd="1", output_usd="1")
    name = await add_route(books, deployment(upstream, "a", model))

    response = await call(gateway, await books.add_key(), name, of_tomorrow=[1.0])

    assert response.status_code == 200, response.text
    assert endpoints.calls == ["a"]
    (request,) = upstream.requests
    assert (request.path, request.fields["model"]) == ("/a/v1/chat/completions", "mine")
    assert request.fields["of_tomorrow"] == [1.0]
    assert "authorization" not in dict(request.headers)


@pytest.mark.parametrize(
    ("profile", "effort", "adapted"),
    [
        (None, "low", None),
        (ProfileFields(efforts=("medium", "high")), "medium", None),
        (ProfileFields(efforts=()), None, "thinking"),
    ],
)
async def test_a_route_says_what_its_model_can_do(
    gateway: Client,
    upstream: Upstream,
    books: Books,
    profile: ProfileFields | None,
    effort: str | None,
    adapted: str | None,
) -> None:
    Endpoints(upstream)
    await books.set_price("hosted_vllm/mine", input_usd="1", output_usd="1")
    name = await add_route(books, deployment(upstream, "a", "hosted_vllm/mine", profile=profile))
    thinking = {"type": "enabled", "budget_tokens": 1_500}

    response = await call(
        gateway, await books.add_key(), name, MESSAGES, thinking=thinking, max_tokens=3_000
    )

    assert response.status_code == 200, response.text
    (request,) = upstream.requests
    assert request.fields.get("reasoning_effort") == effort
    assert response.headers.get("x-gateway-adapted-params") == adapted


async def test_a_chat_for_mistral_is_written_in_its_words(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    Endpoints(upstream)
    await books.set_price("mistral/mine", input_usd="1", output_usd="1")
    name = await add_route(books, deployment(upstream, "a", "mistral/mine"))
    fields: dict[str, Any] = {"max_completion_tokens": 50, "seed": 1, "user": "u"}

    response = await call(gateway, await books.add_key(), name, **fields)

    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["finish_reason"] == "stop"
    (request,) = upstream.requests
    assert {"model": "mine", "max_tokens": 50, "random_seed": 1}.items() <= request.fields.items()
    assert not {"user", "seed", "max_completion_tokens"} & request.fields.keys()


@pytest.mark.parametrize("answer_model", ["asked", "served"])
async def test_a_route_s_answers_tell_the_name_that_was_asked_for(
    gateway: Client, upstream: Upstream, books: Books, answer_model: Any
) -> None:
    endpoints = Endpoints(upstream)
    endpoints.answers("a", {**CHAT.whole, "model": "gpt-4o-2024"})
    model = await add_route(books, deployment(upstream, "a"), answer_model=answer_model)
    secret = await books.add_key()
    name = model if answer_model == "asked" else "gpt-4o-2024"

    whole = await call(gateway, secret, model)
    assert whole.json() == {**CHAT.whole, "model": name}
    assert whole.headers["x-gateway-model"] == "openai/gpt-4o"

    first_frame = b'data: {"model": "gpt-4o-2024", "choices": []}\n\n'
    endpoints.streams("a", [first_frame, *CHAT.frames])
    streamed = await call(gateway, secret, model, stream=True)
    first, _, rest = streamed.content.partition(b"\n\n")
    assert json.loads(first.removeprefix(b"data: "))["model"] == name
    assert rest == b"".join(CHAT.frames)
