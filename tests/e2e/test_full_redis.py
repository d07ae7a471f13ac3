"""The queue fills Redis up to `maxmemory`: calls go on, and all of them are posted in the end."""

import asyncio

from redis import Redis

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from libs.common.storage.queue.event_queue import QUEUE
from tests.e2e.callers import Caller, body, call, new_caller, session, set_price
from tests.e2e.conftest import NewStack
from tests.support.polling import eventually_in_thread

SETTINGS = {"HOLD_LEASE_S": "10", "WORKER_SWEEP_S": "1", "WORKER_JOB_TIMEOUT_S": "5"}
QUEUED, SPOOLED = 1500, 100
# What clients' buffers take comes and goes; the queue takes several times as much.
BUFFERS = 256 * 1024


async def served(caller: Caller, count: int) -> list[str]:
    """The ids of so many calls, some at a time."""
    slots = asyncio.Semaphore(32)
    url = caller.stack.url("gateway")

    async def one(number: int) -> str:
        content = body("output_tokens=10", stream=number % 2 == 0)
        async with slots:
            status, call_id, code = await call(http, url, content)
        assert status == 200, code
        return call_id

    async with session(caller) as http:
        return list(await asyncio.gather(*map(one, range(count))))


def redis_check(stack: LocalStack) -> str:
    return str(StackClient(stack.url("gateway"), "").call("GET", "/ready")[1]["checks"]["redis"])


def posted(caller: Caller, ids: list[str]) -> bool:
    """One entry each, none of them given up."""
    entries = caller.entries()
    return sorted((entry["_id"], entry["status"]) for entry in entries) == sorted(
        (id_, "ok") for id_ in ids
    )


async def test_a_queue_that_filled_redis_is_drained(new_stack: NewStack) -> None:
    stack = new_stack(SETTINGS)
    set_price(stack)
    caller = await asyncio.to_thread(new_caller, stack, "full-redis", 1000)
    await asyncio.to_thread(stack.kill, "ledger_worker")
    ids = await served(caller, QUEUED)
    with Redis.from_url(stack.info.redis_url) as redis:
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) - BUFFERS)
        assert "maxmemory" in await asyncio.to_thread(redis_check, stack)

        ids += await served(caller, SPOOLED)
        depth = redis.zcard(QUEUE)

        await asyncio.to_thread(stack.start_process, "ledger_worker")
        await eventually_in_thread(lambda: posted(caller, ids))
        await eventually_in_thread(caller.holds_nothing)
        await eventually_in_thread(lambda: redis_check(stack) == "ok")
        assert redis.config_get("maxmemory")["maxmemory"] != "0"
    assert depth > 0
    assert "spool.drained" in stack.log("gateway")
    await served(caller, 1)
    await eventually_in_thread(caller.ledger_is_right)
