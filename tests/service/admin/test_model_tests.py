"""`POST /admin/models/{name}/test`, through a real gateway to a scripted provider."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from libs.common.domain.route_tests import TEST_USER_ID
from libs.common.settings import Secret
from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.cooldowns import CooldownStore
from services.admin.app import create_app
from services.admin.settings import Settings
from services.admin.state import open_resources
from tests.servers import free_port
from tests.service.admin.conftest import ADMIN_KEY, client_of
from tests.service.gateway.dialects import CHAT, DIALECTS, TEXT
from tests.service.gateway.stage import PROVIDER_KEY, open_gateway, settings_for
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books, open_books
from tests.support.polling import PATIENCE_S

PATH = "/admin/models"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream().serving() as upstream:
        yield upstream


@pytest.fixture
async def books(mongo_uri: str, redis_url: str) -> AsyncIterator[Books]:
    async with open_books(mongo_uri, redis_url) as books:
        yield books


@pytest.fixture
async def gateway_url(
    mongo_uri: str, redis_url: str, upstream: Upstream, tmp_path: Path
) -> AsyncIterator[str]:
    async with open_gateway(settings_for(mongo_uri, redis_url, upstream.url, tmp_path)) as client:
        yield str(client.http.base_url)


def admin_settings(mongo_uri: str, redis_url: str, gateway_url: str) -> Settings:
    return Settings(
        mongo_uri=Secret(mongo_uri),
        redis_url=Secret(redis_url),
        admin_api_key=Secret(ADMIN_KEY),
        gateway_url=gateway_url,
    )


@pytest.fixture
async def admin(
    mongo_uri: str, redis_url: str, gateway_url: str
) -> AsyncIterator[httpx2.AsyncClient]:
    """With the time as it is, which the gateway goes by as well."""
    settings = admin_settings(mongo_uri, redis_url, gateway_url)
    async with client_of(create_app(settings, open_resources=open_resources)) as client:
        client.timeout = PATIENCE_S
        yield client


async def make(admin: httpx2.AsyncClient, *deployments: dict[str, Any], **fields: Any) -> list[str]:
    """The ids of its deployments; the route is `house/m`."""
    body = {"model": "house/m", "deployments": deployments, **fields}
    answer = await admin.post(PATH, json=body)
    assert answer.status_code == 201, answer.text
    return [deployment["deployment_id"] for deployment in answer.json()["deployments"]]


async def run_test(admin: httpx2.AsyncClient, **body: Any) -> list[dict[str, Any]]:
    answer = await admin.post(f"{PATH}/house/m/test", json=body or None)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"model", "user_id", "results"}
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


async def answers_in_its_format(request: UpstreamRequest, connection: UpstreamConnection) -> None:
    dialect = next(each for each in DIALECTS if request.path.endswith(each.upstream_path))
    await connection.answer(dialect.answer)


async def test_each_deployment_is_called_once_at_the_ledgers_knowledge(
    admin: httpx2.AsyncClient, upstream: Upstream, books: Books, database: Database
) -> None:
    upstream.does(answers_in_its_format)
    ids = await make(
        admin,
        {"model": "openai/gpt-4o"},
        {"model": "anthropic/claude-haiku-4-5", "priority": 1},
        {"model": "openai/gpt-4o", "api_base": f"{upstream.url}/r/v1", "formats": ["responses"]},
    )
    results = await run_test(admin)

    assert [result["deployment_id"] for result in results] == ids
    assert [result["model"] for result in results] == [
        "openai/gpt-4o",
        "anthropic/claude-haiku-4-5",
        "openai/gpt-4o",
    ]
    for result in results:
        assert (result["ok"], result["status"], result["error"]) == (True, 200, None)
        assert result["cost_usd"] == 0.000034
        assert result["latency_ms"] >= 0
    paths = sorted(request.path for request in upstream.requests)
    assert paths == ["/r/v1/responses", "/v1/chat/completions", "/v1/messages"]
    events = [event for event in await books.all_events() if event.user_id == TEST_USER_ID]
    assert {event.call_id for event in events} == {result["request_id"] for result in results}
    assert {event.deployment for event in events} == set(ids)
    assert {(event.status, event.attempts) for event in events} == {("ok", 1)}
    assert [key["status"] for key in await database["keys"].find({}).to_list(9)] == ["revoked"]


async def test_the_call_is_tiny(
    admin: httpx2.AsyncClient, upstream: Upstream, books: Books
) -> None:
    await books.set_price("azure/gpt-4o", input_usd="1", output_usd="1")
    upstream.does(answers_in_its_format)
    await make(
        admin,
        {"model": "openai/gpt-4o"},
        {"model": "openai/gpt-4o", "api_base": f"{upstream.url}/other/v1"},
        {"model": "azure/gpt-4o", "api_base": f"{upstream.url}/azure"},
        {"model": "anthropic/claude-haiku-4-5"},
    )
    await run_test(admin)
    limits = {
        request.path: {name: value for name, value in request.fields.items() if "max" in name}
        for request in upstream.requests
    }
    assert limits == {
        "/v1/chat/completions": {"max_completion_tokens": 64},
        "/azure/openai/v1/chat/completions": {"max_completion_tokens": 64},
        "/other/v1/chat/completions": {"max_tokens": 64},
        "/v1/messages": {"max_tokens": 64},
    }
    assert all(len(request.body) < 200 for request in upstream.requests)


async def test_an_embedding_model_is_asked_for_an_embedding(
    admin: httpx2.AsyncClient, upstream: Upstream, books: Books
) -> None:
    await books.set_price("openai/text-embedding-3-small", input_usd="1", output_usd="0")
    await books.set_price("mistral/voyage-lite", input_usd="1", output_usd="0")
    upstream.answers(b'{"object": "list", "data": [], "usage": {"prompt_tokens": 4}}')
    base = f"{upstream.url}/v1"
    await make(
        admin,
        {"model": "openai/text-embedding-3-small"},
        {"model": "mistral/voyage-lite", "api_base": base, "formats": ["embeddings"]},
    )

    results = await run_test(admin)

    assert [(result["ok"], result["error"]) for result in results] == [(True, None)] * 2
    assert {request.path for request in upstream.requests} == {"/v1/embeddings"}


async def test_failures_are_reported_in_the_providers_words(
    admin: httpx2.AsyncClient, upstream: Upstream
) -> None:
    async def script(request: UpstreamRequest, connection: UpstreamConnection) -> None:
        if request.path.startswith("/bad/"):
            await connection.answer(b'{"error": {"message": "no such model"}}', status=404)
        elif request.path.startswith("/html/"):
            await connection.answer(b"<h1>sorry</h1>", status=503)
        else:
            await connection.answer(CHAT.answer)

    upstream.does(script)
    model = "openai/gpt-4o"
    price = {"model": "unheard-of", "input_cost_per_million": 0, "output_cost_per_million": 0}
    version = (await admin.post("/admin/costs", json=price)).json()
    await make(
        admin,
        {"model": model},
        {"model": model, "api_base": f"{upstream.url}/bad/v1"},
        {"model": model, "api_base": f"{upstream.url}/html/v1"},
        {"model": model, "credential": "env:NOBODY_HAS_SET_THIS"},
        {"model": "openai/unheard-of"},
        fallbacks=["gpt-4o"],
    )
    await admin.delete(f"/admin/costs/{version['price_id']}")
    good, bad, html, keyless, unpriced = await run_test(admin)
    assert good["ok"]
    assert (bad["ok"], bad["status"], bad["error"]) == (False, 404, "no such model")
    assert (html["status"], html["error"], html["cost_usd"]) == (503, "<h1>sorry</h1>", None)
    assert (keyless["status"], unpriced["status"]) == (503, 400)
    assert "env:NOBODY_HAS_SET_THIS" in keyless["error"]
    assert "has no price" in unpriced["error"]
    # Neither retries nor fallbacks.
    assert len(upstream.requests) == 3


async def test_one_deployment_can_be_tested_even_while_it_cools_down(
    admin: httpx2.AsyncClient, upstream: Upstream, redis: Redis
) -> None:
    upstream.answers(CHAT.answer)
    _, second = await make(admin, {"model": "openai/gpt-4o"}, {"model": "openai/gpt-4o"})
    await CooldownStore(redis).exchange({second: 4_000_000_000.0}, now_s=0)
    (result,) = await run_test(admin, deployment_id=second)
    assert (result["deployment_id"], result["ok"]) == (second, True)
    assert len(upstream.requests) == 1


async def test_a_test_can_be_repeated(
    admin: httpx2.AsyncClient, upstream: Upstream, database: Database
) -> None:
    upstream.answers(CHAT.answer)
    await make(admin, {"model": "openai/gpt-4o"})
    for _ in range(2):
        (result,) = await run_test(admin)
        assert result["ok"]
    assert await database["accounts"].count_documents({}) == 1


async def test_the_tests_key_is_never_shown(
    admin: httpx2.AsyncClient,
    upstream: Upstream,
    database: Database,
    capsys: pytest.CaptureFixture[str],
) -> None:
    upstream.answers(CHAT.answer)
    await make(admin, {"model": "openai/gpt-4o"})
    answer = await admin.post(f"{PATH}/house/m/test")
    (key,) = await database["keys"].find({}).to_list(9)
    output = answer.text + repr(key) + capsys.readouterr().out + str(upstream.requests)
    # What is stored of it to recognise it is its prefix, of 12 characters.
    secrets = [word for word in output.replace("'", " ").split() if word.startswith("sk-gw-")]
    assert secrets == [key["prefix"]]
    assert PROVIDER_KEY not in answer.text
    assert TEXT not in answer.text


async def test_the_tests_key_works_for_the_test_alone(
    admin: httpx2.AsyncClient, upstream: Upstream
) -> None:
    entered, gate = asyncio.Event(), asyncio.Event()

    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        entered.set()
        await gate.wait()
        await connection.answer(CHAT.answer)

    upstream.does(script)
    await make(admin, {"model": "openai/gpt-4o"})
    task = asyncio.create_task(run_test(admin))
    await entered.wait()
    (key,) = (await admin.get("/admin/keys", params={"user_id": TEST_USER_ID})).json()["data"]
    assert (key["status"], key["name"]) == ("active", "test of house/m")
    assert key["expires_at"] is not None
    gate.set()
    await task
    (key,) = (await admin.get("/admin/keys", params={"user_id": TEST_USER_ID})).json()["data"]
    assert key["status"] == "revoked"


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b'{"deployment_id": "dep_0"}', "application/json", 422),
        (b'{"deployment": "dep_0"}', "application/json", 422),
        (b'{"deployment_id": 1}', "application/json", 422),
        (b"[]", "application/json", 422),
        (b"{", "application/json", 400),
        (b"{}", "text/plain", 415),
    ],
)
async def test_invalid_bodies_are_rejected(
    admin: httpx2.AsyncClient, upstream: Upstream, content: bytes, content_type: str, status: int
) -> None:
    upstream.answers(CHAT.answer)
    await make(admin, {"model": "openai/gpt-4o"})
    headers = {"content-type": content_type}
    answer = await admin.post(f"{PATH}/house/m/test", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert upstream.requests == []


async def test_an_unknown_route_is_not_tested(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    assert (await admin.post(f"{PATH}/house/m/test")).status_code == 404
    assert await database["keys"].count_documents({}) == 0


async def test_an_unreachable_gateway_is_reported(
    mongo_uri: str, redis_url: str, database: Database
) -> None:
    settings = admin_settings(mongo_uri, redis_url, f"http://127.0.0.1:{free_port()}")
    async with client_of(create_app(settings)) as admin:
        await make(admin, {"model": "openai/gpt-4o"})
        (result,) = await run_test(admin)
    assert (result["ok"], result["status"], result["request_id"]) == (False, None, None)
    assert "GATEWAY_URL" in result["error"]
    assert [key["status"] for key in await database["keys"].find({}).to_list(9)] == ["revoked"]
