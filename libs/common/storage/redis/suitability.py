"""What the services need of a Redis besides that it answers; checked when they start."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress

import structlog
from redis.exceptions import NoPermissionError

from libs.common.storage.redis.answers import answers_of, first_answer
from libs.common.storage.redis.client import Redis, RedisError, nodes_of
from libs.common.storage.redis.invalidation import CHANNEL
from libs.common.storage.redis.master import RedisUnsuitable

__all__ = ["RedisUnsuitable", "check_if_there", "check_suitable", "listens", "publishes"]

_CHECK_TIMEOUT_S = 5.0
_REPLY_TIMEOUT_S = 3.0

log = structlog.get_logger(__name__)
Right = Callable[[Redis], Awaitable[None]]


async def check_suitable(redis: Redis, right: Right | None = None) -> None:
    """Raises RedisUnsuitable, and another RedisError while no master answers.

    `right` is the one that the service needs on the channel. Logs a line on what is not watched or
    not safe, but works. Of a cluster, all masters that answer are looked at.
    """
    nodes = await nodes_of(redis)
    faults = await answers_of(_check_server(node, right) for node in nodes)
    for fault in faults:
        if isinstance(fault, RedisUnsuitable):
            raise fault
    first_answer(faults)
    reachable = [node for node, fault in zip(nodes, faults, strict=True) if fault is None]
    await _tell_of_memory(reachable)
    if len(nodes) > 1:
        await _tell_of_coverage(reachable[0])


async def _check_server(redis: Redis, right: Right | None) -> None:
    # A connection looks at the server's mode and role when it opens.
    await redis.ping()
    if right is not None:
        try:
            await right(redis)
        except NoPermissionError as error:
            raise RedisUnsuitable(
                f"REDIS_URL's user may not use the channel {CHANNEL} ({error}): give it "
                "&gateway:*, +subscribe and +publish"
            ) from None


async def check_if_there(redis: Redis, right: Right) -> None:
    """As `check_suitable`, for services that start without Redis: it may come later."""
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await check_suitable(redis, right)
    except RedisUnsuitable:
        raise
    except (RedisError, OSError):
        return


async def listens(redis: Redis) -> None:
    """Raises NoPermissionError if the user may not listen to invalidations."""
    async with aclosing(redis.pubsub()) as pubsub:
        await pubsub.subscribe(CHANNEL)
        await pubsub.get_message(timeout=_REPLY_TIMEOUT_S)


async def publishes(redis: Redis) -> None:
    """Raises NoPermissionError if the user may not publish invalidations. Publishes nothing."""
    async with redis.client() as connection:
        # redis-py declares no types for it.
        execute: Callable[..., Awaitable[object]] = connection.execute_command
        await execute("MULTI")
        try:
            # Rights are checked as a transaction takes the command in.
            await execute("PUBLISH", CHANNEL, "")
        finally:
            await execute("DISCARD")


async def _tell_of_memory(nodes: Sequence[Redis]) -> None:
    """Logs at most one line."""
    for redis in nodes:
        try:
            memory = await redis.info("memory")
        except NoPermissionError:
            log.warning(
                "redis.info_refused",
                cause="the user may not send INFO, so its memory and eviction policy are not "
                "watched: give it +info",
            )
            return
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            log.warning(
                "redis.may_evict",
                policy=policy,
                cause="at maxmemory it deletes usage, or what a limit has counted, so that the "
                "limit admits twice: set its maxmemory-policy to noeviction",
            )
            return


async def _tell_of_coverage(redis: Redis) -> None:
    with suppress(RedisError):
        # Most services do not say; their users may not ask.
        config = await redis.config_get("cluster-require-full-coverage")
        if config.get("cluster-require-full-coverage", "no") != "no":
            log.warning(
                "redis.stops_as_a_whole",
                cause="if one node is lost without a replica, all nodes reject all commands: set "
                "cluster-require-full-coverage to no",
            )
