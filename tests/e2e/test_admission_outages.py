"""Redis, MongoDB and pub/sub go away under load: calls go on, and every one is posted."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from redis import Redis

from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack
from tests.e2e.callers import (
    Caller,
    body,
    call,
    every_gateway_answers,
    new_caller,
    session,
    set_price,
)
from tests.support.polling import eventually_in_thread

CHANNEL = "gateway:invalidations"
# Cached objects are too old several times within an outage.
CACHE_TTL_S = 2
SETTINGS = {
    "HOLD_LEASE_S": "10",
    "WORKER_SWEEP_S": "1",
    "WORKER_JOB_TIMEOUT_S": "5",
    "CACHE_TTL_S": str(CACHE_TTL_S),
    "CACHE_GRACE_FACTOR": "100",
}
OUTAGE_S = float(os.environ.get("E2E_OUTAGE_S", "5"))
CLIENTS = 8
# Between a client's calls, so that a long outage does not leave more than can be posted in time.
PAUSE_S = 0.05


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    stack = LocalStack(
        tmp_path_factory.mktemp("stack"),
        {**without_settings(os.environ), **SETTINGS},
        gateways=2,
        free_ports=True,
    )
    try:
        stack.start()
        set_price(stack)
        yield stack
    finally:
        stack.stop()


class Load:
    """Clients that call one after the other, and what the gateways answered."""

    def __init__(self, caller: Caller) -> None:
        self.ids: list[str] = []
        self.failures: list[tuple[int, str]] = []
        self._caller = caller
        self._stop = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        async with session(self._caller) as http, asyncio.TaskGroup() as tasks:
            for number in range(CLIENTS):
                url = self._caller.stack.gateway_urls[number % 2]
                tasks.create_task(self._client(http, url))
            yield self
            self._stop.set()

    async def more(self, calls: int) -> None:
        """Returns once so many more calls have been served."""
        total = len(self.ids) + calls
        await eventually_in_thread(lambda: len(self.ids) >= total)

    async def _client(self, http: aiohttp.ClientSession, url: str) -> None:
        while not self._stop.is_set():
            status, call_id, code = await call(http, url, body("output_tokens=10", stream=True))
            if status == 200:
                self.ids.append(call_id)
            else:
                self.failures.append((status, code))
            await asyncio.sleep(PAUSE_S)


@pytest.mark.parametrize("victim", ["redis", "mongo"])
async def test_every_call_of_an_outage_is_served_and_posted(stack: LocalStack, victim: str) -> None:
    caller = await asyncio.to_thread(new_caller, stack, f"without-{victim}", 1000)
    async with Load(caller).running() as load:
        await load.more(50)
        await asyncio.to_thread(stack.kill, victim)
        try:
            # The outage has to last; that is not waiting for anything.
            await asyncio.sleep(OUTAGE_S)
            await load.more(10)
        finally:
            await asyncio.to_thread(stack.start_process, victim)
        await load.more(50)
    assert load.failures == []
    await eventually_in_thread(lambda: all_posted(caller, sorted(load.ids)))
    await eventually_in_thread(caller.holds_nothing)
    await eventually_in_thread(caller.ledger_is_right)


async def test_calls_of_a_gateway_that_dies_during_a_redis_outage_are_abandoned(
    stack: LocalStack,
) -> None:
    """Nothing but its spool knows of them."""
    caller = await asyncio.to_thread(new_caller, stack, "killed-unheard", 10)
    url = f"{stack.url('gateway')}/v1/chat/completions"
    content = body("output_tokens=90 chunks=90 chunk_delay_ms=1000", stream=True)
    async with session(caller) as http:
        await call(http, stack.url("gateway"), body("output_tokens=10"))
        await asyncio.to_thread(stack.kill, "redis")
        try:
            streams = await asyncio.gather(*(http.post(url, json=content) for _ in range(5)))
            await asyncio.to_thread(stack.kill, "gateway")
        finally:
            await asyncio.to_thread(stack.start_process, "redis")
            await asyncio.to_thread(stack.start_process, "gateway")
    assert [stream.status for stream in streams] == [200] * 5
    ids = sorted(stream.headers["x-request-id"] for stream in streams)
    await eventually_in_thread(lambda: len(caller.entries(status="abandoned")) == 5)
    assert sorted(entry["_id"] for entry in caller.entries(status="abandoned")) == ids
    await eventually_in_thread(caller.holds_nothing)
    await eventually_in_thread(caller.ledger_is_right)


def all_posted(caller: Caller, ids: list[str]) -> bool:
    """One entry each. Where a lease ended in the outage, a call may be given up and then mended."""
    entries = caller.entries()
    calls = {entry["_id"]: entry["status"] for entry in entries if entry["kind"] == "call"}
    mended = {entry["corrects"] for entry in entries if entry["kind"] == "late_event"}
    given_up = {id_ for id_, status in calls.items() if status != "ok"}
    return sorted(calls) == ids and given_up == mended


async def test_without_pubsub_a_change_takes_effect_when_the_cache_expires(
    stack: LocalStack,
) -> None:
    caller = await asyncio.to_thread(new_caller, stack, "unheard", 1)
    with Redis.from_url(stack.info.redis_url) as redis:
        redis.execute_command("ACL", "SETUSER", "default", "-subscribe")
        try:
            redis.client_kill_filter(_type="pubsub")
            async with session(caller) as http:
                for change, code in (
                    (lambda: caller.set_limit(0), "insufficient_quota"),
                    (lambda: caller.set_limit(1), ""),
                    (caller.revoke, "api_key_revoked"),
                ):
                    for url in stack.gateway_urls:
                        await call(http, url, body("output_tokens=1"))
                    await asyncio.to_thread(change)
                    await every_gateway_answers(caller, http, code, within_s=CACHE_TTL_S)
            assert redis.pubsub_numsub(CHANNEL) == [(CHANNEL.encode(), 0)]
        finally:
            redis.execute_command("ACL", "SETUSER", "default", "+subscribe")
