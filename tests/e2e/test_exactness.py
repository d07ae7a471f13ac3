"""P1, P2: every call has one entry, and the account's spend is their exact sum."""

import asyncio
from decimal import Decimal
from functools import partial
from typing import Any

import pymongo
import pytest

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from tests.e2e import mixed_load
from tests.e2e.conftest import NewStack
from tests.support.polling import eventually_in_thread

BIG_BUDGET = {"budget": {"limit_usd": 100_000, "period": "monthly"}}


@pytest.fixture
def stack(new_stack: NewStack) -> LocalStack:
    """Its own, since every call to its provider is counted."""
    stack = new_stack({"WORKER_JOB_TIMEOUT_S": "5"})
    admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    admin.expect("PATCH", f"/admin/accounts/{stack.info.demo_user_id}", BIG_BUDGET)
    return stack


async def test_a_thousand_mixed_calls_are_posted_exactly(stack: LocalStack) -> None:
    ids = await mixed_load.send_all(stack, mixed_load.requests(1000, seed=1), at_a_time=16)
    await assert_exact(stack, ids)


async def test_a_worker_killed_under_load_changes_nothing(stack: LocalStack) -> None:
    load = asyncio.create_task(
        mixed_load.send_all(stack, mixed_load.requests(600, seed=2), at_a_time=16)
    )
    for count in (50, 150):
        await eventually_in_thread(partial(has_entries, stack, count))
        await asyncio.to_thread(stack.kill, "ledger_worker")
        await asyncio.to_thread(stack.start_process, "ledger_worker")
    await assert_exact(stack, await load)


async def assert_exact(stack: LocalStack, ids: list[str]) -> None:
    await eventually_in_thread(partial(has_entries, stack, len(ids)))
    entries = await asyncio.to_thread(all_entries, stack)
    assert sorted(entry["entry_id"] for entry in entries) == sorted(ids)
    calls = {call["client_request_id"]: call for call in mixed_load.served(stack)}
    assert len(calls) == len(ids)
    for entry in entries:
        expected = mixed_load.cost_usd(calls[entry["entry_id"]])
        assert entry["cost_usd"] == expected, (entry, calls[entry["entry_id"]])
    spend = account(stack)["spend"]
    assert spend["total_usd"] == sum(map(mixed_load.cost_usd, calls.values()), Decimal(0))
    await eventually_in_thread(lambda: account(stack)["spend"]["held_usd"] == 0)
    proof = admin(stack).expect("GET", "/admin/ledger/verify")
    assert proof["ok"], proof


def admin(stack: LocalStack) -> StackClient:
    return StackClient(stack.info.admin_url, stack.info.admin_api_key)


def account(stack: LocalStack) -> dict[str, Any]:
    view: dict[str, Any] = admin(stack).expect("GET", f"/admin/accounts/{stack.info.demo_user_id}")
    return view


def has_entries(stack: LocalStack, count: int) -> bool:
    """Asked often, so of the database itself."""
    with pymongo.MongoClient[dict[str, Any]](stack.info.mongo_uri) as client:
        return client.get_default_database()["entries"].count_documents({}) >= count


def all_entries(stack: LocalStack) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    cursor = ""
    while True:
        path = f"/admin/usage/user/{stack.info.demo_user_id}?limit=200{cursor}"
        page = admin(stack).expect("GET", path)
        entries += page["data"]
        if page["next_cursor"] is None:
            return entries
        cursor = f"&cursor={page['next_cursor']}"
