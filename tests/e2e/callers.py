"""Accounts with keys of their own, and their calls to every gateway of a stack."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from time import monotonic
from typing import Any

import aiohttp
import msgspec
import pymongo

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack

# Only output costs: 10 USD per million tokens, so 0.001 for the 100 that each call may use.
MODEL = "openai/by-output"
HOLD_USD = Decimal("0.001")
_MAX_TOKENS = 100
_LIMIT_S = 60.0


class Caller(msgspec.Struct, frozen=True):
    """An account, and the secret of its key."""

    stack: LocalStack
    user_id: str
    key_id: str
    secret: str

    def admin(self) -> StackClient:
        return StackClient(self.stack.info.admin_url, self.stack.info.admin_api_key)

    def set_limit(self, usd: float) -> None:
        budget = {"limit_usd": usd, "period": "total"}
        self.admin().expect("PATCH", f"/admin/accounts/{self.user_id}", {"budget": budget})

    def revoke(self) -> None:
        self.admin().expect("PATCH", f"/admin/keys/{self.key_id}", {"status": "revoked"})

    def spend(self) -> Any:
        return self.admin().expect("GET", f"/admin/accounts/{self.user_id}")["spend"]

    def holds_nothing(self) -> bool:
        return bool(self.spend()["held_usd"] == 0)

    def entries(self, **filters: Any) -> list[dict[str, Any]]:
        with pymongo.MongoClient[dict[str, Any]](self.stack.info.mongo_uri) as client:
            cursor = client.get_default_database()["entries"].find(
                {"user_id": self.user_id, **filters}
            )
            return list(cursor)

    def ledger_is_right(self) -> bool:
        path = f"/admin/ledger/verify?full=true&user_id={self.user_id}"
        return bool(self.admin().expect("GET", path)["ok"])


def new_caller(stack: LocalStack, user_id: str, limit_usd: float) -> Caller:
    admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    budget = {"limit_usd": limit_usd, "period": "total"}
    admin.expect("POST", "/admin/accounts", {"user_id": user_id, "budget": budget})
    key = admin.expect("POST", "/admin/keys", {"user_id": user_id})
    return Caller(stack, user_id, key["key_id"], key["api_key"])


def set_price(stack: LocalStack) -> None:
    admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    price = {"input_cost_per_million": 0, "output_cost_per_million": 10}
    admin.expect("POST", "/admin/costs", {"model": MODEL, **price})


def body(script: str, **fields: Any) -> dict[str, Any]:
    """A chat call with instructions for the stand-in."""
    message = {"role": "user", "content": f"[[stand-in {script}]] hello"}
    return {"model": MODEL, "max_tokens": _MAX_TOKENS, "messages": [message], **fields}


@asynccontextmanager
async def session(caller: Caller) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"authorization": f"Bearer {caller.secret}"}
    timeout = aiohttp.ClientTimeout(total=_LIMIT_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, connector=connector
    ) as client:
        yield client


async def call(
    http: aiohttp.ClientSession, gateway_url: str, content: dict[str, Any]
) -> tuple[int, str, str]:
    """Status, the gateway's id of the call, and the error's code."""
    async with http.post(f"{gateway_url}/v1/chat/completions", json=content) as response:
        answer = await response.read()
        code = ""
        if response.status != 200:
            code = msgspec.json.decode(answer)["error"]["code"]
        return response.status, response.headers["x-request-id"], code


async def every_gateway_answers(
    caller: Caller, http: aiohttp.ClientSession, code: str, *, within_s: float
) -> None:
    """Once so much time has passed since the call of this; "" is that the call is served.

    Only when a call begins counts: how long a busy machine takes to answer it does not.
    """
    start = monotonic()

    async def comes_to_answer(gateway_url: str) -> None:
        while True:
            began_s = monotonic() - start
            answer = (await call(http, gateway_url, body("output_tokens=1")))[2]
            if answer == code:
                break
            assert began_s < within_s, f"{answer or 'served'} after {began_s:.2f} s"
        assert (await call(http, gateway_url, body("output_tokens=1")))[2] == code

    async with asyncio.TaskGroup() as tasks:
        for url in caller.stack.gateway_urls:
            tasks.create_task(comes_to_answer(url))


async def send_all(caller: Caller, content: dict[str, Any], count: int) -> Counter[str]:
    """So many calls at once, spread over the gateways; how often each answer came."""
    urls = caller.stack.gateway_urls
    async with session(caller) as http:
        answers = await asyncio.gather(
            *(call(http, urls[number % len(urls)], content) for number in range(count))
        )
    return Counter(f"{status} {code}".strip() for status, _, code in answers)
