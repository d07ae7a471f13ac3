"""Whatever goes wrong with a chore, it is done again, and nothing else is disturbed."""

import asyncio

from libs.common.storage.redis.client import RedisError
from services.ledger_worker.periodic_chores import repeat_chore


async def test_a_failed_chore_is_repeated() -> None:
    stop, runs = asyncio.Event(), 0

    async def fail_in_every_way() -> None:
        nonlocal runs
        runs += 1
        match runs:
            case 1:
                raise RedisError("away")
            case 2:
                raise KeyError("a bug")
            case _:
                stop.set()

    async with asyncio.timeout(10):
        await repeat_chore("try", fail_in_every_way, stop, every_s=0.001)
    assert runs == 3


async def test_a_chore_without_an_interval_is_disabled() -> None:
    async def never() -> None:
        raise AssertionError

    await repeat_chore("nothing", never, asyncio.Event(), every_s=0)
