"""`GET /v1/models`, `/health`, `/ready`, `/metrics`, and paths that lead nowhere."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from libs.common.settings import Secret
from tests.servers import HOST, free_port, running
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, MESSAGES
from tests.service.gateway.stage import CHAT_MODEL, MESSAGES_MODEL, Client, bearer, open_gateway
from tests.support.books import Books
from tests.support.polling import eventually
from tests.users import PASSWORD, as_user, redis_server_with_users

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANTHROPIC = {"anthropic-version": "2023-06-01"}

DATABASES = ("mongo", "redis")


async def test_models_in_openais_shape(gateway: Client, books: Books) -> None:
    """Those of providers that the gateway has a key for."""
    response = await gateway.http.get("/v1/models", headers=bearer(await books.add_key()))

    body = response.json()
    assert (response.status_code, body["object"]) == (200, "list")
    assert [model["id"] for model in body["data"]] == [MESSAGES_MODEL, CHAT_MODEL]
    assert {model["object"] for model in body["data"]} == {"model"}
    assert all(isinstance(model["created"], int) for model in body["data"])


async def test_models_in_anthropics_shape(gateway: Client, books: Books) -> None:
    headers = {"x-api-key": await books.add_key(), **ANTHROPIC}

    body = (await gateway.http.get("/v1/models", headers=headers)).json()

    assert [model["id"] for model in body["data"]] == [MESSAGES_MODEL, CHAT_MODEL]
    assert {model["type"] for model in body["data"]} == {"model"}
    assert (body["has_more"], body["first_id"], body["last_id"]) == (
        False,
        MESSAGES_MODEL,
        CHAT_MODEL,
    )
    for model in body["data"]:
        datetime.fromisoformat(model["created_at"])


@pytest.mark.parametrize(
    ("allowed", "listed"),
    [((CHAT_MODEL,), [CHAT_MODEL]), (("claude-*",), [MESSAGES_MODEL]), ((), [])],
)
async def test_a_key_sees_the_models_that_it_may_use(
    gateway: Client, books: Books, allowed: tuple[str, ...], listed: list[str]
) -> None:
    secret = await books.add_key(allowed_models=allowed)

    openai = (await gateway.http.get("/v1/models", headers=bearer(secret))).json()
    anthropic = (
        await gateway.http.get("/v1/models", headers={**bearer(secret), **ANTHROPIC})
    ).json()

    for body in (openai, anthropic):
        assert [model["id"] for model in body["data"]] == listed
    assert anthropic["first_id"] == (listed[0] if listed else None)


async def test_models_need_a_key(gateway: Client, books: Books) -> None:
    revoked = await books.add_key(status="revoked")
    suspended = await books.add_key(await books.add_account(status="suspended"))

    for secret, status, code in (
        (None, 401, "invalid_api_key"),
        ("sk-gw-wrong", 401, "invalid_api_key"),
        (revoked, 401, "api_key_revoked"),
        (suspended, 403, "account_suspended"),
    ):
        response = await gateway.http.get("/v1/models", headers=bearer(secret))
        CHAT.check_error(response, status, code)
        headers = {**bearer(secret), **ANTHROPIC}
        MESSAGES.check_error(await gateway.http.get("/v1/models", headers=headers), status, code)


@pytest.mark.parametrize("path", ["/v1/nothing", "/", "/v1/chat", "/v1/messages/batches"])
async def test_an_unknown_path_is_a_404(gateway: Client, path: str) -> None:
    dialect = MESSAGES if path.startswith("/v1/messages") else CHAT
    error = dialect.check_error(await gateway.http.post(path, json={}), 404, "not_found")
    assert path in error["message"]

    response = await gateway.http.get(path, headers=ANTHROPIC)
    MESSAGES.check_error(response, 404, "not_found")


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/ready", "/metrics"])
async def test_a_wrong_method_is_a_405(gateway: Client, path: str) -> None:
    response = await gateway.http.post(path, json={})

    CHAT.check_error(response, 405, "method_not_allowed")
    assert "GET" in response.headers["allow"]


async def test_a_gateway_with_its_stores_is_ready(gateway: Client) -> None:
    health, ready = await gateway.http.get("/health"), await gateway.http.get("/ready")

    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert ready.status_code == 200
    checks = dict.fromkeys(("mongo", "redis", "usage"), "ok")
    assert ready.json() == {"status": "ok", "checks": checks}


async def test_a_gateway_starts_without_redis_and_reports_it(settings_with: SettingsWith) -> None:
    url = f"redis://{HOST}:{free_port()}/0"
    async with open_gateway(settings_with(redis_url=Secret(url))) as gateway:
        health, ready = await gateway.http.get("/health"), await gateway.http.get("/ready")

    assert (health.status_code, ready.status_code) == (200, 503)
    checks = ready.json()["checks"]
    assert checks["mongo"] == "ok"
    assert checks["redis"] != "ok"


async def test_a_gateway_starts_without_mongodb_and_reports_it(settings_with: SettingsWith) -> None:
    """A caller may well be somebody, so there is no 401 for those that it does not know."""
    uri = f"mongodb://{HOST}:{free_port()}/test?directConnection=true"
    async with open_gateway(settings_with(mongo_uri=Secret(uri))) as gateway:
        health, ready, call = await asyncio.gather(
            gateway.http.get("/health"),
            gateway.http.get("/ready"),
            gateway.post(CHAT.path, "sk-gw-some", CHAT.body()),
        )

    assert (health.status_code, ready.status_code) == (200, 503)
    checks = ready.json()["checks"]
    assert checks["redis"] == "ok"
    assert checks["mongo"] != "ok"
    CHAT.check_error(call, 503, "service_unavailable")
    assert "x-should-retry" not in call.headers


async def test_a_gateway_without_read_permission_is_not_ready(
    settings_with: SettingsWith, module_mongo_uri: str, tmp_path: Path
) -> None:
    """Both servers would answer `hello` and `PING`, and each call would then be a 503."""
    with MongoClient[dict[str, Any]](module_mongo_uri) as root:
        root.admin.command("createUser", "nobody", pwd=PASSWORD, roles=[])
    with running(redis_server_with_users(tmp_path)) as redis:
        nobody = {
            "mongo_uri": Secret(as_user(module_mongo_uri, "nobody")),
            "redis_url": Secret(redis.url),
        }
        async with open_gateway(settings_with(**nobody)) as gateway:
            ready = await gateway.http.get("/ready")

    assert ready.status_code == 503
    checks = ready.json()["checks"]
    assert "not authorized" in checks["mongo"]
    assert "permissions" in checks["redis"]


async def test_metrics_name_no_key_and_no_account(gateway: Client, books: Books) -> None:
    secret = await books.add_key()
    await gateway.post(CHAT.path, secret, b"{")

    text = (await gateway.http.get("/metrics")).text

    assert 'gateway_calls_total{format="chat",http_status="400",status="refused"}' in text
    assert secret not in text
    assert await books.user_of(secret) not in text


async def test_metrics_tell_of_databases_holds_and_the_spool(gateway: Client, books: Books) -> None:
    async def measured() -> bool:
        text = (await gateway.http.get("/metrics")).text
        return all(f'gateway_database_up{{database="{name}"}} 1.0' in text for name in DATABASES)

    await eventually(measured)
    text = (await gateway.http.get("/metrics")).text
    for name in DATABASES:
        assert f'gateway_database_probe_seconds_count{{database="{name}"}}' in text
    assert "\ngateway_holds_open 0.0" in text
    assert 'gateway_breaker_open{breaker="redis"} 0.0' in text
