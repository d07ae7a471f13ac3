"""Load on two gateways and two workers while they and both databases are killed with -9."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any

import aiohttp
import pymongo

from deploy.local.client import Client
from deploy.local.stack import LocalStack
from tests.chaos.check import Findings, check
from tests.e2e import mixed_load
from tests.e2e.polling import wait_for

REPLICAS = 2
# Short, so that a run sees what follows from them; `make up` has longer ones.
SETTINGS = {
    "HOLD_LEASE_S": "10",
    "WORKER_JOB_TIMEOUT_S": "5",
    "WORKER_SWEEP_S": "1",
    "SHUTDOWN_GRACE_S": "5",
}
VICTIMS = ("gateway", "gateway-2", "ledger_worker", "ledger_worker-2", "redis", "mongo")
_AT_A_TIME = 16
_CALL_LIMIT_S = 30.0
_BUDGET = {"budget": {"limit_usd": 1_000_000, "period": "total"}}


async def run(
    stack: LocalStack,
    *,
    seed: int,
    seconds: float,
    say: Callable[[str], None],
    meddle: Callable[[LocalStack], None] | None = None,
) -> Findings:
    """`meddle` injects a fault before the books are checked."""
    admin = Client(stack.info.admin_url, stack.info.admin_api_key)
    admin.expect("PATCH", f"/admin/accounts/{stack.info.demo_user_id}", _BUDGET)
    until = monotonic() + seconds
    answers: Counter[str] = Counter()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_load(stack, seed, until, answers))
        for victim in VICTIMS:
            chance = random.Random(f"{seed} {victim}")
            tasks.create_task(_keep_killing(stack, victim, chance, until, say))
    say(f"answers: {dict(answers)}")
    await wait_for(lambda: _is_settled(stack))
    if meddle is not None:
        meddle(stack)
    return await asyncio.to_thread(check, stack)


async def _load(stack: LocalStack, seed: int, until: float, answers: Counter[str]) -> None:
    """Clients that take whatever comes: an error, a broken stream, no connection."""
    numbers = itertools.count()
    calls = mixed_load.requests(2000, seed)
    headers = {"authorization": f"Bearer {stack.info.demo_api_key}"}
    timeout = aiohttp.ClientTimeout(total=_CALL_LIMIT_S)

    async def client(session: aiohttp.ClientSession) -> None:
        while monotonic() < until:
            number = next(numbers)
            path, body = calls[number % len(calls)]
            url = stack.gateway_urls[number % len(stack.gateway_urls)]
            try:
                async with session.post(url + path, json=body) as response:
                    await response.read()
                    answers[str(response.status)] += 1
            except (aiohttp.ClientError, TimeoutError) as error:
                answers[type(error).__name__] += 1
                # A gateway that was just killed takes a moment to come back.
                await asyncio.sleep(0.05)

    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        await asyncio.gather(*(client(session) for _ in range(_AT_A_TIME)))


async def _keep_killing(
    stack: LocalStack,
    victim: str,
    chance: random.Random,
    until: float,
    say: Callable[[str], None],
) -> None:
    """Each victim on its own, so that any of them may be away at the same time."""
    while monotonic() < until:
        await asyncio.sleep(chance.uniform(1.0, 10.0))
        down_s = chance.uniform(0.0, 2.0)
        say(f"kill -9 {victim}, down for {down_s:.1f} s")
        await asyncio.to_thread(stack.kill, victim)
        await asyncio.sleep(down_s)
        await asyncio.to_thread(stack.start_process, victim)


def _is_settled(stack: LocalStack) -> bool:
    """Nothing is held any more, so every call that was admitted has been posted."""
    admin = Client(stack.info.admin_url, stack.info.admin_api_key)
    status, account = admin.call("GET", f"/admin/accounts/{stack.info.demo_user_id}")
    if status != 200 or account["spend"]["held_usd"] != 0:
        return False
    posted = set(_entry_ids(stack))
    return all(call["client_request_id"] in posted for call in mixed_load.served(stack))


def _entry_ids(stack: LocalStack) -> list[str]:
    with pymongo.MongoClient[dict[str, Any]](stack.info.mongo_uri) as client:
        return list(client.get_default_database()["entries"].distinct("_id"))
