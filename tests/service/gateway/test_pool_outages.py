"""The pool stays hard while Redis goes, comes back, and forgets."""

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from services.gateway.settings import Settings
from tests.servers import ServerProcess
from tests.service.gateway.dialects import CHAT
from tests.service.gateway.stage import Client, open_gateway
from tests.service.gateway.test_budgets import HOLD_NUSD, MODEL, OUTPUT_USD, Turnstile
from tests.service.gateway.test_outages import own_books, redis, settings
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books
from tests.support.polling import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
__all__ = ["own_books", "redis", "settings"]

COST_NUSD = 7 * 10_000
# Room for a hold beside four calls that are over.
ROOM_FOR_FIVE_USD = "0.00128"


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def prices(own_books: Books) -> None:
    await own_books.set_price("by-output", input_usd="0", output_usd=OUTPUT_USD)


def body() -> dict[str, Any]:
    return CHAT.body(model=MODEL)


async def status(gateway: Client, secret: str) -> int:
    return (await gateway.post(CHAT.path, secret, body())).status_code


async def test_the_pool_is_not_spent_twice_during_or_after_an_outage(
    upstream: Upstream, own_books: Books, settings: Settings, redis: ServerProcess
) -> None:
    upstream.answers(CHAT.answer)
    secret = await own_books.add_key(await own_books.add_account(limit_usd=ROOM_FOR_FIVE_USD))
    async with open_gateway(settings) as gateway:
        assert [await status(gateway, secret) for _ in range(2)] == [200] * 2
        redis.kill()
        assert [await status(gateway, secret) for _ in range(5)] == [200] * 3 + [429] * 2
        redis.start()

        async def is_drained() -> bool:
            # While Redis does not know of those calls, the process still does.
            assert await status(gateway, secret) == 429
            return await own_books.held(secret) == 5 * COST_NUSD

        await eventually(is_drained)
        assert await status(gateway, secret) == 429
    ok = [event for event in await own_books.events(secret) if event.status == "ok"]
    assert len(ok) == len({event.call_id for event in ok}) == 5


async def test_a_call_begun_without_redis_gets_its_hold_afterwards(
    upstream: Upstream, own_books: Books, settings: Settings, redis: ServerProcess
) -> None:
    secret = await own_books.add_key(await own_books.add_account(limit_usd="1"))
    other = await own_books.add_key()
    turnstile = Turnstile(upstream, expected=1)
    async with open_gateway(settings) as gateway:
        redis.kill()
        call = asyncio.create_task(gateway.post(CHAT.path, secret, body()))
        await turnstile.full()
        redis.start()

        upstream.answers(CHAT.answer)

        async def is_held() -> bool:
            # The next call finds out that Redis is back.
            assert await status(gateway, other) == 200
            return await own_books.held(secret) == HOLD_NUSD

        await eventually(is_held)
        turnstile.open.set()
        assert (await call).status_code == 200

        async def is_finished() -> bool:
            return await own_books.held(secret) == COST_NUSD

        await eventually(is_finished)


async def test_after_a_flush_open_calls_are_held_again(
    upstream: Upstream, own_books: Books, settings: Settings
) -> None:
    user_id = await own_books.add_account(limit_usd="0.002")
    secret = await own_books.add_key(user_id)
    turnstile = Turnstile(upstream, expected=1)
    async with open_gateway(settings) as gateway:
        call = asyncio.create_task(gateway.post(CHAT.path, secret, body()))
        await turnstile.full()
        await own_books.redis.flushall()
        # The next call asks MongoDB what was spent, and so shows that Redis has forgotten.
        upstream.answers(CHAT.answer)
        assert await status(gateway, secret) == 200

        async def is_held_again() -> bool:
            return await own_books.held(secret) == HOLD_NUSD + COST_NUSD

        await eventually(is_held_again)
        assert await status(gateway, secret) == 429
        turnstile.open.set()
        assert (await call).status_code == 200
    assert await own_books.held(secret) == 2 * COST_NUSD
