"""What each service needs of the databases to be ready."""

from collections.abc import Awaitable, Callable
from typing import Any

from libs.common.storage.mongo import Database, ping
from libs.common.storage.redis import Redis


def storage_checks(database: Database, redis: Redis) -> dict[str, Callable[[], Awaitable[Any]]]:
    """By name; each raises where its server cannot do its work."""
    return {"mongo": lambda: ping(database), "redis": redis.ping}
