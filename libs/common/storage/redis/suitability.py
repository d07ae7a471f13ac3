"""What the services need of a Redis besides that it answers; checked when they start."""

import asyncio

from libs.common.storage.redis.client import Redis, RedisError
from libs.common.storage.redis.master import RedisUnsuitable

__all__ = ["RedisUnsuitable", "check_if_there", "check_suitable"]

_CHECK_TIMEOUT_S = 5.0


async def check_suitable(redis: Redis) -> None:
    """Raises RedisUnsuitable, and another RedisError while no master answers."""
    # A connection looks at the server's mode and role when it opens.
    await redis.ping()


async def check_if_there(redis: Redis) -> None:
    """As `check_suitable`, for services that start without Redis: it may come later."""
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await check_suitable(redis)
    except RedisUnsuitable:
        raise
    except (RedisError, OSError):
        return
