"""The conditions under which a service is ready."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from libs.common.storage.mongo.driver import Database, ping
from libs.common.storage.redis.client import Redis, RedisError, names_at_nodes

# Every service's user may look at these; neither has to exist.
_COLLECTION, _KEY = "accounts", "gateway:ready"
# The probe's key expires within a second.
_PROBE_MS = 1000


async def check_writable(redis: Redis) -> None:
    """Raises RedisError where Redis is away or takes no writes: full, read-only, its disk full.

    A cluster is ready while one node is: the accounts of the others go by the rules for a Redis
    that is away.
    """
    names = await names_at_nodes(redis, _KEY)
    commands = (redis.set(name, b"", px=_PROBE_MS) for name in names)
    await until_one_answers(commands)


async def _check_readable(redis: Redis) -> None:
    commands = (redis.exists(name) for name in await names_at_nodes(redis, _KEY))
    await until_one_answers(commands)


async def until_one_answers(commands: Iterable[Awaitable[Any]]) -> None:
    """Waits for no other: a node that is silent must not make all of the service seem so.

    Raises an error if all fail.
    """
    tasks = [asyncio.ensure_future(each) for each in commands]
    failure: Exception | None = None
    try:
        for task in asyncio.as_completed(tasks):
            try:
                await task
            except (RedisError, OSError) as error:
                failure = error
            else:
                return
    finally:
        # Not awaited: a command may close its connection first, which can take as long.
        for each in tasks:
            each.add_done_callback(_read)
            each.cancel()
    if failure is not None:
        raise failure


def _read(task: "asyncio.Future[Any]") -> None:
    """Python would print an error that nobody has read."""
    if not task.cancelled():
        task.exception()


def storage_checks(database: Database, redis: Redis) -> dict[str, Callable[[], Awaitable[Any]]]:
    """By name; each raises where its server cannot do its work, or not for this user.

    They read, because `hello` and `PING` are answered whatever the user's rights are.
    """

    async def mongo() -> None:
        await ping(database)
        # By its id: some servers read a whole collection for its first document.
        await database[_COLLECTION].find_one({"_id": ""}, {"_id": 1})

    return {"mongo": mongo, "redis": lambda: _check_readable(redis)}
