"""What each service needs of the databases to be ready."""

from collections.abc import Awaitable, Callable
from typing import Any

from libs.common.storage.mongo.driver import Database, ping
from libs.common.storage.redis.client import Redis

# Every service's user may look at these; neither has to exist.
_COLLECTION, _KEY = "accounts", "gateway:ready"
# Gone before anybody could miss it.
_PROBE_MS = 1000


async def check_writable(redis: Redis) -> None:
    """Raises RedisError where Redis is away or takes no writes: full, read-only, its disk full."""
    await redis.set(_KEY, b"", px=_PROBE_MS)


def storage_checks(database: Database, redis: Redis) -> dict[str, Callable[[], Awaitable[Any]]]:
    """By name; each raises where its server cannot do its work, or not for this user.

    They read, because `hello` and `PING` are answered whatever the user's rights are.
    """

    async def mongo() -> None:
        await ping(database)
        await database[_COLLECTION].find_one({}, {"_id": 1})

    return {"mongo": mongo, "redis": lambda: redis.exists(_KEY)}
