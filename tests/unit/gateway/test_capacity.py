"""Connections to providers: a bound for all calls, and a share for each account's."""

import asyncio

import pytest

from libs.common.errors import NoConnection
from services.gateway.upstream.capacity import Capacity

_NEVER_S = 600.0


async def test_an_account_is_limited_to_its_share() -> None:
    capacity = Capacity(limit=4, account_limit=2, wait_s=_NEVER_S)
    await capacity.take("acme")
    await capacity.take("acme")
    with pytest.raises(NoConnection, match="share of this gateway's 4"):
        await capacity.take("acme")
    await capacity.take("other")
    capacity.release("acme")
    await capacity.take("acme")


def test_a_free_connection_is_taken_without_a_wait() -> None:
    capacity = Capacity(limit=3, account_limit=2, wait_s=_NEVER_S)
    assert capacity.take_free("acme")
    assert capacity.take_free("acme")
    assert not capacity.take_free("acme"), "beyond the account's share"
    assert capacity.take_free("other")
    assert not capacity.take_free("third"), "all are in use"
    capacity.release("acme")
    assert capacity.take_free("third")


async def test_a_waiting_call_gets_the_released_connection() -> None:
    capacity = Capacity(limit=1, account_limit=1, wait_s=_NEVER_S)
    await capacity.take("acme")
    waiting = asyncio.create_task(capacity.take("other"))
    await asyncio.sleep(0)
    # It has its share already, which bounds how many wait.
    with pytest.raises(NoConnection, match="share"):
        await capacity.take("other")
    assert not waiting.done()
    capacity.release("acme")
    await waiting


async def test_a_wait_times_out() -> None:
    capacity = Capacity(limit=1, account_limit=1, wait_s=0)
    await capacity.take("acme")
    for _ in range(2):
        with pytest.raises(NoConnection, match="All 1 connections") as refused:
            await capacity.take("other")
        assert refused.value.retry_after_s == 2
    capacity.release("acme")
    await capacity.take("other")


async def test_a_cancelled_wait_takes_no_connection() -> None:
    capacity = Capacity(limit=1, account_limit=1, wait_s=_NEVER_S)
    await capacity.take("acme")
    waiting = asyncio.create_task(capacity.take("other"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    capacity.release("acme")
    await capacity.take("other")
