"""What each service needs of the databases to be ready."""

from collections.abc import Awaitable, Callable
from typing import Any

from libs.common.storage.mongo import Database, ping
from libs.common.storage.redis import Redis

# Every service's user may look at these; neither has to exist.
_COLLECTION, _KEY = "accounts", "gateway:ready"


def storage_checks(database: Database, redis: Redis) -> dict[str, Callable[[], Awaitable[Any]]]:
    """By name; each raises where its server cannot do its work, or not for this user.

    They read, because `hello` and `PING` are answered whatever the user's rights are.
    """

    async def mongo() -> None:
        await ping(database)
        await database[_COLLECTION].find_one({}, {"_id": 1})

    return {"mongo": mongo, "redis": lambda: redis.exists(_KEY)}
