"""Load on two gateways and two workers while they and both databases are killed and paused."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import aiohttp
import pymongo

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from tests.chaos.check import Findings, check, user_ids
from tests.chaos.harms import (
    SERVICES,
    SPOOL_MAX_BYTES,
    Harmful,
    Harms,
    StackProcess,
    Victim,
)
from tests.e2e import mixed_load
from tests.support.polling import eventually_in_thread

REPLICAS = 2
# Short, so that a run sees what follows from them; `make up` has longer ones.
SETTINGS = {
    "HOLD_LEASE_S": "10",
    "WORKER_JOB_TIMEOUT_S": "5",
    "WORKER_SWEEP_S": "1",
    # Others are killed while sums are added to the rollups.
    "WORKER_ROLL_UP_S": "1",
    "SHUTDOWN_GRACE_S": "5",
    "SPOOL_MAX_BYTES": str(SPOOL_MAX_BYTES),
}
# How the answers of each format end, where all of the stream has come.
_LAST_FRAMES = {
    mixed_load.CHAT: b"data: [DONE]",
    mixed_load.RESPONSES: b"event: response.completed",
    mixed_load.MESSAGES: b"event: message_stop",
}
# Leases have to end, and whoever was paused has to catch up.
_SETTLE_S = 180.0
_AT_A_TIME = 16
_OK = 200
_CALL_LIMIT_S = 30.0
_BUDGET = {"budget": {"limit_usd": 1_000_000, "period": "total"}}
# Beside the demo account; each has calls under way at any time.
_OTHER_ACCOUNTS = 7
_POOLED = 1
# Used up by a tenth of the calls that this account makes, whose bodies are as long as the provider
# says, so that none costs more than its hold.
_POOL = {"budget": {"limit_usd": 0.05, "period": "total"}}
_PADDING = " word" * 4_000


async def run(
    stack: LocalStack,
    *,
    seed: int,
    seconds: float,
    say: Callable[[str], None],
    harms: Harms = Harms(),  # noqa: B008 - it is frozen
    nodes: Sequence[Victim] = (),
    beside: Callable[[float], Coroutine[Any, Any, None]] | None = None,
    meddle: Callable[[LocalStack], None] | None = None,
    is_closed: bool = False,
) -> Findings:
    """`is_closed`: no call begins without Redis, so that no two gateways use what was left. `nodes`
    stand for the stack's own Redis; `beside` goes on until its time is over, and `meddle` injects a
    fault before the books are checked.
    """
    api_keys = _make_accounts(stack)
    until = monotonic() + seconds
    answers: Counter[str] = Counter()
    whole_ids: set[str] = set()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_load(stack, api_keys, seed, until, answers, whole_ids))
        names = (*SERVICES, "mongo") if nodes else (*SERVICES, "mongo", "redis")
        victims: list[Victim] = [*(StackProcess(stack, name) for name in names), *nodes]
        Harmful(stack, victims, seed, until, harms, say).start(tasks)
        if beside is not None:
            tasks.create_task(beside(until))
    say(f"answers: {dict(answers)}")
    with suppress(TimeoutError):
        # What is missing then is what the check names.
        await eventually_in_thread(lambda: is_settled(stack), limit_s=_SETTLE_S)
    if meddle is not None:
        meddle(stack)
    return await asyncio.to_thread(check, stack, whole_ids, no_pool_overrun=is_closed)


def _make_accounts(stack: LocalStack) -> list[str]:
    """Returns an API key of each account."""
    admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    admin.expect("PATCH", f"/admin/accounts/{stack.info.demo_user_id}", _BUDGET)
    api_keys = [stack.info.demo_api_key]
    for number in range(1, _OTHER_ACCOUNTS + 1):
        user_id = f"account-{number}"
        budget = _POOL if number == _POOLED else _BUDGET
        admin.expect("POST", "/admin/accounts", {"user_id": user_id, "name": user_id, **budget})
        key = admin.expect("POST", "/admin/keys", {"user_id": user_id, "name": user_id})
        api_keys.append(key["api_key"])
    return api_keys


async def _load(
    stack: LocalStack,
    api_keys: Sequence[str],
    seed: int,
    until: float,
    answers: Counter[str],
    whole_ids: set[str],
) -> None:
    """Clients that take whatever comes: an error, a broken stream, no connection."""
    numbers = itertools.count()
    calls = mixed_load.requests(2000, seed)
    padded = mixed_load.requests(2000, seed, padding=_PADDING)
    logins = [{"authorization": f"Bearer {api_key}"} for api_key in api_keys]
    timeout = aiohttp.ClientTimeout(total=_CALL_LIMIT_S)

    async def client(session: aiohttp.ClientSession) -> None:
        while monotonic() < until:
            number = next(numbers)
            account = number // len(stack.gateway_urls) % len(logins)
            path, body = (padded if account == _POOLED else calls)[number % len(calls)]
            url = stack.gateway_urls[number % len(stack.gateway_urls)]
            try:
                async with session.post(url + path, json=body, headers=logins[account]) as response:
                    answer = await response.read()
                    answers[str(response.status)] += 1
                if response.status == _OK and (not body["stream"] or _LAST_FRAMES[path] in answer):
                    whole_ids.add(response.headers["x-request-id"])
            except (aiohttp.ClientError, TimeoutError) as error:
                answers[type(error).__name__] += 1
                # A gateway that was just killed takes a moment to come back.
                await asyncio.sleep(0.05)

    async with aiohttp.ClientSession(timeout=timeout) as session:
        await asyncio.gather(*(client(session) for _ in range(_AT_A_TIME)))


def is_settled(stack: LocalStack) -> bool:
    """Nothing is held any more, so every call that was admitted has been posted."""
    admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    for user_id in user_ids(stack):
        status, account = admin.call("GET", f"/admin/accounts/{user_id}")
        if status != 200 or account["spend"]["held_usd"] != 0:
            return False
    posted = set(_entry_ids(stack))
    return all(call["client_request_id"] in posted for call in mixed_load.served(stack))


def _entry_ids(stack: LocalStack) -> list[str]:
    with pymongo.MongoClient[dict[str, Any]](stack.info.mongo_uri) as client:
        return list(client.get_default_database()["entries"].distinct("_id"))
