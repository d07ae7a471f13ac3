"""Publishes invalidations to the gateways after a write."""

from collections.abc import Iterable, Sequence

import stamina
import structlog

from libs.common.schemas.invalidation import Invalidation, InvalidationKind
from libs.common.storage.redis.client import Redis, RedisError
from libs.common.storage.redis.invalidation import publish
from services.admin.metrics import Metrics

log = structlog.get_logger(__name__)

# The first attempt fails if the connection died while it was idle.
_ATTEMPTS = 3
_TIMEOUT_S = 3.0
_AT_ONCE = 20


class Announcer:
    """A failed announcement does not undo the write: gateway caches expire by their TTL."""

    def __init__(self, redis: Redis, metrics: Metrics) -> None:
        self._redis = redis
        self._metrics = metrics

    async def announce(
        self, kind: InvalidationKind, ids: Iterable[str], *, as_one: bool = False
    ) -> dict[str, str]:
        """Returns headers for the response, which say if gateways were not notified.

        `as_one` is for many prices, since gateways clear all prices for each announcement.
        """
        try:
            invalidations = [Invalidation(kind=kind, id=object_id) for object_id in ids]
            for start in range(0, len(invalidations), _AT_ONCE):
                await self._publish(invalidations[start : start + _AT_ONCE], as_one=as_one)
        except (RedisError, OSError) as error:
            self._metrics.delayed(kind)
            log.warning("invalidation.delayed", kind=kind, error=error)
            return {"x-invalidation": "delayed"}
        return {}

    async def _publish(self, invalidations: Sequence[Invalidation], *, as_one: bool) -> None:
        async for attempt in stamina.retry_context(
            on=(RedisError, OSError),
            attempts=_ATTEMPTS,
            timeout=_TIMEOUT_S,
            wait_initial=0.05,
            wait_max=0.5,
            wait_jitter=0.05,
        ):
            with attempt:
                await publish(self._redis, *invalidations, as_one=as_one)
