"""The pool of connections to a Redis Cluster, and how its errors are dealt with.

A cluster moves slots between its nodes, and replaces a lost master by its replica. A node that
does not serve a command's slot says so and does nothing (MOVED, ASK, TRYAGAIN, CLUSTERDOWN): the
command is then tried again, elsewhere or later. After a lost connection nobody knows what was done,
so the error goes to the caller, as with a single server.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import random
from typing import Any, TypeVar

from redis.asyncio import ConnectionPool
from redis.asyncio.cluster import ClusterParser
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from libs.common.storage.redis.cluster_nodes import ClusterNodes
from libs.common.storage.redis.master import RedisUnsuitable, TcpConnection, TlsConnection
from libs.common.storage.redis.node_pool import NodePool
from libs.common.storage.redis.shards import cluster_shards
from libs.common.storage.redis.url import ClusterUrl

# How long a command that the cluster does not take is tried again.
_TRY_S = 2.0
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25
_MAX_WAITING = 20_000
# By these errors a node says that it did nothing.
NOTHING_DONE = (AskError, MovedError, TryAgainError, ClusterDownError)
_LOST = (RedisConnectionError, RedisTimeoutError, OSError)

T = TypeVar("T")


class NotReached(RedisConnectionError):
    """No connection to the node could be opened, so nothing was sent."""

    @classmethod
    def because(cls, error: Exception) -> RedisConnectionError:
        return error if isinstance(error, RedisUnsuitable) else cls(str(error))


class ClusterPool(ConnectionPool):
    """As a pool, it has connections to any node, for commands without a key and subscribers."""

    def __init__(self, url: ClusterUrl, **options: Any) -> None:
        """`options` are those of each node's pool."""
        options |= url.options
        options["connection_class"] = TlsConnection if url.tls else TcpConnection
        # It knows the errors of a cluster.
        options["parser_class"] = ClusterParser
        self.shards = cluster_shards(url.shards)
        self.nodes = ClusterNodes(url, options)
        self._favourite: NodePool | None = None
        # How many commands pause before they are tried again.
        self._pausing = 0
        super().__init__(**{name: value for name, value in options.items() if name != "timeout"})

    async def at_slot(
        self,
        slot: int,
        exchange: Callable[[NodePool, bool], Awaitable[T]],
        *,
        may_follow: bool,
    ) -> T:
        """Has the slot's node do the exchange, which raises NotReached if it cannot be asked.

        While a slot is moved key by key, what its old node lacks may be asked of the new one, by an
        exchange with ASKING (its second argument), if it `may_follow`. A script or transaction
        may not: its other keys may still be at the old node.
        """
        tries: _Tries | None = None
        redirect: NodePool | None = None
        while True:
            pool = redirect or self.nodes.known(slot) or await self.nodes.find(slot)
            try:
                return await exchange(pool, redirect is not None)
            except NotReached:
                tries, redirect = tries or _Tries(), None
                if not await self._has_another(slot, pool, tries):
                    raise
            except NOTHING_DONE as error:
                tries = tries or _Tries()
                redirect = await self._next_pool(slot, pool, tries, error, may_follow)
            except _LOST:
                self.nodes.suspect(pool)
                raise

    async def masters(self) -> list[NodePool]:
        """Those that serve slots; first the one that commands without a key go to."""
        serving = await self.nodes.masters()
        if self._favourite in serving:
            serving.remove(self._favourite)
            serving.insert(0, self._favourite)
        return serving

    async def get_connection(self, *_: Any, **__: Any) -> Any:
        """To any node; to another one after an error."""
        failure: Exception = RedisConnectionError("no node of the cluster serves a slot")
        for pool in await self.masters():
            try:
                connection = await pool.get_connection()
            except (RedisError, OSError) as error:
                failure = error
                self.nodes.refresh_soon()
            else:
                self._favourite = pool
                return connection
        raise failure

    async def release(self, connection: Any) -> None:
        await connection.pool.release(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await asyncio.gather(*(pool.disconnect(inuse_connections) for pool in self.nodes.pools))

    async def _has_another(self, slot: int, pool: NodePool, tries: "_Tries") -> bool:
        """Whether another node serves the slot, after this one could not be reached."""
        with suppress(RedisError):
            await self.nodes.refresh()
        current = self.nodes.slots[slot] if self.nodes.slots else None
        return current not in (None, pool) and not tries.are_over()

    async def _next_pool(
        self, slot: int, pool: NodePool, tries: "_Tries", error: ResponseError, may_follow: bool
    ) -> NodePool | None:
        """The node to ask now, after a pause; None for the one that serves the slot then."""
        is_known = isinstance(error, MovedError) or (isinstance(error, AskError) and may_follow)
        target = None
        if is_known and isinstance(error, AskError):
            target = self.nodes.pool_at((_host_of(error, pool), error.port))
        if isinstance(error, (MovedError, ClusterDownError)):
            self.nodes.refresh_soon()
        if isinstance(error, MovedError):
            if self.nodes.slots:
                self.nodes.slots[slot] = target
            target = None
        if self._pausing >= _MAX_WAITING:
            raise RedisError("too many commands wait for the cluster")
        self._pausing += 1
        try:
            await tries.pause(error, at_once=is_known)
        finally:
            self._pausing -= 1
        return target


class _Tries:
    """Of one command, since the first error."""

    def __init__(self) -> None:
        self._give_up_at = asyncio.get_running_loop().time() + _TRY_S
        self._count = 0

    def are_over(self) -> bool:
        return asyncio.get_running_loop().time() >= self._give_up_at

    async def pause(self, error: Exception, *, at_once: bool) -> None:
        """Raises RedisConnectionError if the time is over. The first pause may be none."""
        if self.are_over():
            raise RedisConnectionError(f"the cluster rejects the command: {error!r}")
        if self._count or not at_once:
            pause_s = min(_FIRST_PAUSE_S * 2**self._count, _LONGEST_PAUSE_S)
            # Spread, so that the commands of a slot do not all come at once.
            await asyncio.sleep(pause_s * (0.5 + random()))
        self._count += 1


def _host_of(error: AskError, pool: NodePool) -> str:
    """A node may leave out the host if it is its own."""
    return pool.address[0] if error.host in ("", "?") else error.host
