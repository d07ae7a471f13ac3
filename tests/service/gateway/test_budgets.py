"""The pool of an account: calls at once never take more of it than there is."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from libs.common.domain.periods import period_keys, zone_of
from libs.common.schemas.account import BudgetPeriod
from libs.common.storage.mongo.ledger import LedgerStore
from tests.service.gateway.dialects import CHAT, DIALECTS, Dialect
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books, zone_by_day
from tests.support.polling import PATIENCE_S
from tests.unit.builders import entry

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A hundred output tokens at 10 USD per million, and nothing for the input.
MODEL, OUTPUT_USD, HOLD_USD = "openai/by-output", "10", "0.001"
HOLD_NUSD = 1_000_000


class Turnstile:
    """A provider that keeps its calls until it is told, and says when so many are there."""

    def __init__(self, upstream: Upstream, expected: int) -> None:
        self.open = asyncio.Event()
        self._all_there = asyncio.Event()
        self._arrivals = 0
        self._expected = expected
        upstream.does(self._script)

    async def _script(self, request: UpstreamRequest, connection: UpstreamConnection) -> None:
        self._arrivals += 1
        if self._arrivals == self._expected:
            self._all_there.set()
        await self.open.wait()
        dialect = next(some for some in DIALECTS if some.upstream_path == request.path)
        await connection.answer(dialect.answer)

    async def full(self) -> None:
        await asyncio.wait_for(self._all_there.wait(), PATIENCE_S)


@pytest_asyncio.fixture(autouse=True, scope="module", loop_scope="module")
async def prices(books: Books) -> None:
    await books.set_price("by-output", input_usd="0", output_usd=OUTPUT_USD)


def body(dialect: Dialect = CHAT, **fields: Any) -> dict[str, Any]:
    return dialect.body(model=MODEL, **fields)


async def test_concurrent_calls_are_admitted_while_there_is_room(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    """Through all keys of the account, and to the last nano-USD."""
    user_id = await books.add_account(limit_usd="0.005999999")
    secrets = [await books.add_key(user_id) for _ in range(4)]
    turnstile = Turnstile(upstream, expected=5)

    calls = [
        asyncio.create_task(gateway.post(CHAT.path, secrets[number % 4], body()))
        for number in range(20)
    ]
    await turnstile.full()
    refused = [await call for call in await first(calls, 15)]
    assert {response.status_code for response in refused} == {429}
    assert await books.held(secrets[0]) == 5 * HOLD_NUSD
    turnstile.open.set()
    served = [response for response in await asyncio.gather(*calls) if response.status_code == 200]

    assert len(served) == len(upstream.requests) == 5
    events = await books.events(secrets[0])
    assert sorted(event.status for event in events) == ["ok"] * 5 + ["refused"] * 15
    # Each hold has shrunk to what its call cost.
    assert await books.held(secrets[0]) == 5 * 7 * 10_000


async def spend(
    books: Books, user_id: str, nusd: int, at: datetime, time_zone: str = "UTC"
) -> None:
    """As the ledger's worker posts it."""
    periods = period_keys(at, zone_of(time_zone))
    call_entry = entry(uuid4().hex, user_id=user_id, cost_nusd=nusd, started_at=at, periods=periods)
    assert await LedgerStore(books.database).post([call_entry]) == 1


async def first(tasks: list[asyncio.Task[Any]], number: int) -> list[asyncio.Task[Any]]:
    """The first so many to be done."""
    done: set[asyncio.Task[Any]] = set()
    async with asyncio.timeout(PATIENCE_S):
        while len(done) < number:
            pending = set(tasks) - done
            done |= (await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED))[0]
    return list(done)


async def test_a_call_that_ends_makes_room(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    secret = await books.add_key(await books.add_account(limit_usd=HOLD_USD))
    turnstile = Turnstile(upstream, expected=1)
    call = asyncio.create_task(gateway.post(CHAT.path, secret, body()))
    await turnstile.full()
    assert (await gateway.post(CHAT.path, secret, body())).status_code == 429

    turnstile.open.set()
    await call

    # What the first one cost is still held, so one token less fits.
    assert (await gateway.post(CHAT.path, secret, body())).status_code == 429
    assert (await gateway.post(CHAT.path, secret, body(max_tokens=93))).status_code == 200


async def test_a_call_refused_by_the_provider_releases_its_whole_hold(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    secret = await books.add_key(await books.add_account(limit_usd=HOLD_USD))
    upstream.answers(b"{}", status=400)

    for _ in range(3):
        assert (await gateway.post(CHAT.path, secret, body())).status_code == 400

    assert await books.held(secret) == 0


@pytest.mark.parametrize("period", ["total", "monthly", "weekly", "daily"])
async def test_earlier_spend_is_read_from_mongodb(
    gateway: Client, upstream: Upstream, books: Books, period: BudgetPeriod
) -> None:
    """When Redis does not know it, as after a flush."""
    upstream.answers(CHAT.answer)
    zone = zone_by_day()
    user_id = await books.add_account(limit_usd="1", period=period, time_zone=zone)
    secret = await books.add_key(user_id)
    await spend(books, user_id, 1_000_000_000 - HOLD_NUSD, datetime.now(UTC), zone)

    assert (await gateway.post(CHAT.path, secret, body(max_tokens=101))).status_code == 429
    assert (await gateway.post(CHAT.path, secret, body())).status_code == 200


async def test_another_periods_spend_does_not_count(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    upstream.answers(CHAT.answer)
    user_id = await books.add_account(limit_usd="1", period="daily")
    secret = await books.add_key(user_id)
    await spend(books, user_id, 5_000_000_000, datetime(2020, 1, 1, tzinfo=UTC))

    assert (await gateway.post(CHAT.path, secret, body())).status_code == 200


async def test_a_key_without_a_budget_is_unlimited(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    upstream.answers(CHAT.answer)

    response = await gateway.post(CHAT.path, await books.add_key(), body(max_tokens=10**9))

    assert response.status_code == 200


async def test_an_explicit_price_of_zero_is_free(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    upstream.answers(CHAT.answer)
    await books.set_price("gift", input_usd="0", output_usd="0")
    secret = await books.add_key(await books.add_account(limit_usd="0"))

    response = await gateway.post(CHAT.path, secret, body() | {"model": "openai/gift"})

    assert response.status_code == 200
    assert await books.held(secret) == 0
