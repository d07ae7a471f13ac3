"""What one account sends never makes another's calls go elsewhere; a dead deployment does."""

import asyncio
from typing import Any

import pytest

from tests.servers import HOST, free_port
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT
from tests.service.gateway.routes import Endpoints, add_route, deployment
from tests.service.gateway.stage import Client, open_gateway
from tests.service.gateway.translation_wire import ANTHROPIC_MESSAGE
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books
from tests.support.polling import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

POISON = "poison"


async def call(gateway: Client, secret: str, model: str, **fields: Any) -> int:
    response = await gateway.post(CHAT.path, secret, CHAT.body(**fields) | {"model": model})
    return response.status_code


def poisoned_with(status: int, **headers: str) -> Any:
    """A deployment that fails over what some requests say, and is well otherwise."""

    async def script(request: UpstreamRequest, connection: UpstreamConnection) -> None:
        if POISON.encode() not in request.body:
            await connection.answer(CHAT.answer)
        elif status:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            await connection.answer(b'{"error": {"message": "no"}}', status=status, headers=fields)
        else:
            connection.cut()

    return script


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        *((status, {}) for status in (401, 403, 404, 409, 429, 500, 503, 529, 0)),
        (429, {"retry_after": "600"}),
    ],
)
async def test_one_accounts_failures_are_its_own(
    gateway: Client, upstream: Upstream, books: Books, status: int, headers: dict[str, str]
) -> None:
    endpoints = Endpoints(upstream)
    endpoints.does("a", poisoned_with(status, **headers))
    model = await add_route(
        books,
        deployment(upstream, "a"),
        deployment(upstream, "b", priority=1),
        cooldown_after=3,
        max_attempts=2,
    )
    mallory, secret = await books.add_key(), await books.add_key()
    for _ in range(6):
        await call(gateway, mallory, model, messages=[{"role": "user", "content": POISON}])
    upstream.requests.clear()

    assert await call(gateway, secret, model) == 200
    assert endpoints.calls == ["a"]


async def test_an_untranslatable_request_is_not_a_failure_of_its_deployment(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    endpoints = Endpoints(upstream)
    endpoints.answers("a", ANTHROPIC_MESSAGE)
    flat = [{"type": "function", "name": "f", "parameters": {}}]
    model = await add_route(
        books,
        deployment(upstream, "a", "anthropic/claude-haiku-4-5"),
        deployment(upstream, "b", priority=1),
        cooldown_after=1,
        max_attempts=1,
    )
    secret = await books.add_key()
    for _ in range(3):
        assert await call(gateway, secret, model, tools=flat) == 400
    assert endpoints.calls == []

    assert await call(gateway, secret, model) == 200
    assert endpoints.calls == ["a"]


async def test_an_unreachable_deployment_cools_down_for_all_on_all_replicas(
    gateway: Client, upstream: Upstream, books: Books, settings_with: SettingsWith
) -> None:
    endpoints = Endpoints(upstream)
    dead = deployment(upstream, "a", api_base=f"http://{HOST}:{free_port()}/v1")
    alone = await add_route(books, dead, cooldown_after=2)
    model = await add_route(books, dead, deployment(upstream, "b", priority=1), max_attempts=1)
    one, two, other_account = [await books.add_key() for _ in range(3)]
    async with open_gateway(settings_with()) as other:
        for secret in (one, two):
            assert await call(gateway, secret, alone) == 502
        assert await call(gateway, other_account, model) == 200
        async with asyncio.timeout(PATIENCE_S):
            while await call(other, other_account, model) != 200:
                pass
    assert set(endpoints.calls) == {"b"}
