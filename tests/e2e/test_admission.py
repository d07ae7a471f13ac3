"""P4 and P5 on four gateways: the pool is hard, and what an administrator says counts at once."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal

import aiohttp
import pytest

from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack
from tests.e2e.callers import (
    HOLD_USD,
    Caller,
    body,
    call,
    every_gateway_answers,
    new_caller,
    send_all,
    session,
    set_price,
)
from tests.support.polling import eventually_in_thread

GATEWAYS = 4
# Caches would keep for minutes what no invalidation reached.
SETTINGS = {"HOLD_LEASE_S": "10", "WORKER_SWEEP_S": "1", "CACHE_TTL_S": "600"}
OVER_BUDGET = "429 insufficient_quota"
# What an administrator was answered counts for every call that begins later than this.
PROMPT_S = 1.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    stack = LocalStack(
        tmp_path_factory.mktemp("stack"),
        {**without_settings(os.environ), **SETTINGS},
        gateways=GATEWAYS,
        free_ports=True,
    )
    try:
        stack.start()
        set_price(stack)
        yield stack
    finally:
        stack.stop()


async def test_ten_calls_fit_where_there_is_room_for_ten_and_a_half(stack: LocalStack) -> None:
    """Each costs all that it holds, so that nothing is ever given back."""
    caller = new_caller(stack, "ten", 0.0105)
    assert await send_all(caller, body("output_tokens=100"), 400) == {"200": 10, OVER_BUDGET: 390}
    await eventually_in_thread(caller.holds_nothing)
    spend = caller.spend()
    assert (spend["total_usd"], spend["remaining_usd"]) == (10 * HOLD_USD, HOLD_USD / 2)
    assert await send_all(caller, body("output_tokens=100"), 8) == {OVER_BUDGET: 8}
    assert len(caller.entries(status="ok")) == 10
    await eventually_in_thread(caller.ledger_is_right)


async def test_unused_holds_make_room_for_other_calls(stack: LocalStack) -> None:
    """To the last hold, and never beyond the limit."""
    caller, limit_usd = new_caller(stack, "within", 0.0105), Decimal("0.0105")
    successes = (await send_all(caller, body("output_tokens=37"), 200))["200"]
    while True:
        await eventually_in_thread(caller.holds_nothing)
        answers = await send_all(caller, body("output_tokens=37"), 8)
        assert set(answers) <= {"200", OVER_BUDGET}
        if answers["200"] == 0:
            break
        successes += answers["200"]
    spent = caller.spend()["total_usd"]
    assert spent == successes * Decimal("0.00037")
    assert limit_usd - HOLD_USD < spent <= limit_usd


async def test_calls_of_a_killed_gateway_are_abandoned_after_their_lease(stack: LocalStack) -> None:
    caller = new_caller(stack, "killed", 10)
    url = stack.url("gateway-2")
    content = body("output_tokens=90 chunks=90 chunk_delay_ms=1000", stream=True)
    async with session(caller) as http:
        streams = [asyncio.create_task(call(http, url, content)) for _ in range(50)]
        await eventually_in_thread(lambda: caller.spend()["held_usd"] == 50 * HOLD_USD)
        await asyncio.to_thread(stack.kill, "gateway-2")
        outcomes = await asyncio.gather(*streams, return_exceptions=True)
    assert all(isinstance(error, aiohttp.ClientError) for error in outcomes)
    try:
        await eventually_in_thread(lambda: len(caller.entries(status="abandoned")) == 50)
        await eventually_in_thread(caller.holds_nothing)
        entries = caller.entries()
        assert {entry["cost_nusd"] for entry in entries} == {0}
        assert {entry["held_nusd"] for entry in entries} == {1_000_000}
        assert len(entries) == 50
        await eventually_in_thread(caller.ledger_is_right)
    finally:
        await asyncio.to_thread(stack.start_process, "gateway-2")


@pytest.fixture
async def primed(
    stack: LocalStack, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Caller, aiohttp.ClientSession]]:
    """A caller that every gateway has served, and so has in its cache."""
    caller = new_caller(stack, request.node.name, 10)
    async with session(caller) as http:
        for url in stack.gateway_urls:
            assert (await call(http, url, body("output_tokens=1")))[0] == 200
        yield caller, http


async def test_a_revoked_key_is_refused_by_every_gateway(
    primed: tuple[Caller, aiohttp.ClientSession],
) -> None:
    caller, http = primed
    await asyncio.to_thread(caller.revoke)
    await every_gateway_answers(caller, http, "api_key_revoked", within_s=PROMPT_S)


async def test_a_changed_limit_is_enforced_by_every_gateway(
    primed: tuple[Caller, aiohttp.ClientSession],
) -> None:
    caller, http = primed
    await asyncio.to_thread(caller.set_limit, 0)
    await every_gateway_answers(caller, http, "insufficient_quota", within_s=PROMPT_S)
    await asyncio.to_thread(caller.set_limit, 1)
    await every_gateway_answers(caller, http, "", within_s=PROMPT_S)
