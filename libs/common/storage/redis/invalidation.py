"""Cache invalidation over Redis pub/sub: the admin service publishes, gateways listen."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import msgspec
import structlog

from libs.common.decode_errors import UNREADABLE
from libs.common.schemas.invalidation import Invalidation
from libs.common.storage.redis.client import Redis, RedisError
from libs.common.storage.redis.shared_cache import tombstone

CHANNEL = "gateway:invalidations"
_RECONNECT_S = 0.5
_POLL_S = 1.0

log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Invalidation).decode


async def publish(redis: Redis, *invalidations: Invalidation, as_one: bool = False) -> None:
    """Publishes invalidations. Raises RedisError on failure; caches then expire by their TTL.

    The gateways' own caches are told even where the shared one cannot be: in a cluster, the node
    that has its value may be the only one that is away.

    `as_one` publishes only the first: one invalidated price clears all cached prices.
    """
    # Before publishing: a gateway that gets the message must not read the old value from the shared
    # cache. Concurrently, since each waits for Redis to write to its disk.
    tombstones = [tombstone(redis, each.kind, each.id) for each in invalidations]
    faults = await asyncio.gather(*tombstones, return_exceptions=True)
    for invalidation in invalidations[:1] if as_one else invalidations:
        await redis.publish(CHANNEL, _encode(invalidation))
    for fault in faults:
        if fault is not None:
            raise fault


async def listen(
    redis: Redis,
    on_invalidation: Callable[[Invalidation], None],
    on_subscribed: Callable[[], None],
    *,
    reconnect_s: float = _RECONNECT_S,
) -> None:
    """Runs until cancelled. `on_subscribed` is called on each (re)subscription.

    Messages are lost while the connection is broken, so `on_subscribed` clears all caches. One
    outage is logged once.
    """
    is_logged = False
    while True:
        try:
            async with aclosing(redis.pubsub()) as pubsub:
                await pubsub.subscribe(CHANNEL)
                while True:
                    message = await pubsub.get_message(timeout=_POLL_S)
                    if message is None:
                        continue
                    if message["type"] == "subscribe":
                        is_logged = False
                        on_subscribed()
                    elif message["type"] == "message":
                        _deliver(message["data"], on_invalidation)
        except (RedisError, OSError) as error:
            if not is_logged:
                log.warning("invalidations.disconnected", error=error)
            is_logged = True
            await asyncio.sleep(reconnect_s)


def _deliver(data: bytes, on_invalidation: Callable[[Invalidation], None]) -> None:
    try:
        invalidation = _decode(data)
    except UNREADABLE as error:
        log.error("invalidations.undecodable", error=error)
    else:
        on_invalidation(invalidation)
