"""The connections to one node of a cluster."""

import logging
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from libs.common.storage.redis.master import MasterPool
from libs.common.storage.redis.slot_map import Address

# Not structlog: importing it would cost the worker's probe more than the rest of its work.
log = logging.getLogger(__name__)


class NodePool(MasterPool):
    """The connections to one node.

    `unused_since_s` is when it left the slot map. It `is_suspect` after a connection was lost:
    maybe another node serves its slots by now.
    """

    in_cluster = True

    def __init__(self, on_fault: Callable[[], None], address: Address, **options: Any) -> None:
        self._on_fault = on_fault
        self.address = address
        self.unused_since_s: float | None = None
        self.is_suspect = False
        self._is_away = False
        host, port = address
        super().__init__(host=host, port=port, **options)

    async def get_connection(self, *_: Any, **__: Any) -> Any:
        """Logs the first failure, and nothing more until a connection is open."""
        try:
            connection = await super().get_connection()
        except (RedisError, OSError) as error:
            if not self._is_away:
                address = "{}:{}".format(*self.address)
                log.warning("redis.node_away", extra={"address": address, "cause": str(error)})
            self._is_away = True
            raise
        self._is_away = False
        return connection

    async def leave_after(self, error: Exception) -> None:
        self._on_fault()
        await super().leave_after(error)

    async def check(self) -> None:
        """Closes all connections of a node that has fallen silent: a subscriber would wait for its
        messages for ever.
        """
        try:
            await Redis(connection_pool=self).ping()
        except RedisTimeoutError:
            await self.disconnect()
        except (RedisError, OSError):
            # Its connections have ended by themselves.
            return


class SeedPool(NodePool):
    """For a node of the URL, which may be a replica by now: it knows the others."""

    takes_replicas = True
