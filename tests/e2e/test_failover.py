"""The master of Redis is killed and Sentinel promotes its replica: no call fails, none is lost."""

import asyncio
import signal
from collections.abc import Iterator

import aiohttp
import pytest

from deploy.local.stack import LocalStack
from tests.e2e.callers import HOLD_USD, Caller, body, call, new_caller, session, set_price
from tests.e2e.conftest import NewStack
from tests.sentinels import Replicated, replicated
from tests.support.polling import eventually_in_thread

# Nothing that a test waits for may come about because a lease or a cache's time has ended.
SETTINGS = {"HOLD_LEASE_S": "120", "CACHE_TTL_S": "600", "WORKER_JOB_TIMEOUT_S": "5"}
CALLS = 20
LIMIT_S = 15.0


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    with replicated(tmp_path_factory.mktemp("redis")) as servers:
        yield servers


async def test_a_failover_loses_no_replicated_write(redis: Replicated, new_stack: NewStack) -> None:
    stack = new_stack({**SETTINGS, "REDIS_URL": redis.url}, gateways=2)
    set_price(stack)
    caller = new_caller(stack, "failover", 1)
    async with session(caller) as http:
        # What these calls used is acknowledged, and waits in Redis alone.
        stack.signal("ledger_worker", signal.SIGSTOP)
        ids = await call_all(http, stack)
        await eventually_in_thread(redis.has_caught_up)
        assert caller.entries() == []

        await asyncio.to_thread(redis.master.kill)
        ids += await call_all(http, stack)
        await eventually_in_thread(redis.is_promoted)
        ids += await call_all(http, stack)
        stack.signal("ledger_worker", signal.SIGCONT)

        await eventually_in_thread(lambda: posted(caller) == sorted(ids))
        await eventually_in_thread(caller.holds_nothing)
        await held_by_the_new_master(http, stack, caller)
        await eventually_in_thread(caller.ledger_is_right)
        await refused_once_revoked(http, stack, caller)


async def call_all(http: aiohttp.ClientSession, stack: LocalStack) -> list[str]:
    """Their ids. Every one is served, whatever becomes of Redis."""
    ids = []
    for number in range(CALLS):
        url = stack.gateway_urls[number % len(stack.gateway_urls)]
        status, id_, code = await call(http, url, body("output_tokens=10"))
        assert (status, code) == (200, "")
        ids.append(id_)
    return ids


def posted(caller: Caller) -> list[str]:
    return sorted(entry["_id"] for entry in caller.entries(kind="call", status="ok"))


async def held_by_the_new_master(
    http: aiohttp.ClientSession, stack: LocalStack, caller: Caller
) -> None:
    """Calls are admitted there, and not by the policy for times without Redis."""
    slow = body("output_tokens=20 chunks=20 chunk_delay_ms=100", stream=True)
    calls = [asyncio.create_task(call(http, url, slow)) for url in stack.gateway_urls]
    await eventually_in_thread(lambda: caller.spend()["held_usd"] == len(calls) * HOLD_USD)
    assert [answer[0] for answer in await asyncio.gather(*calls)] == [200] * len(calls)
    await eventually_in_thread(caller.holds_nothing)


async def refused_once_revoked(
    http: aiohttp.ClientSession, stack: LocalStack, caller: Caller
) -> None:
    """Every gateway listens to the new master's invalidations."""
    await asyncio.to_thread(caller.revoke)
    async with asyncio.timeout(LIMIT_S):
        for url in stack.gateway_urls:
            while (await call(http, url, body("output_tokens=1")))[2] != "api_key_revoked":
                pass
