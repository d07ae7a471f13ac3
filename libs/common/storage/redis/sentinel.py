"""Connections to the master that Redis Sentinel names."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.exceptions import RedisError

from libs.common.storage.redis.master import MasterPool, OnlyMaster
from libs.common.storage.redis.url import SentinelUrl
from libs.common.tasks import running

_CONNECT_TIMEOUT_S = 0.5
_COMMAND_TIMEOUT_S = 1.0
# A master that is cut off together with its clients does not report its demotion.
_FOLLOW_S = 1.0
# Not structlog: importing it would cost the worker's probe more than the rest of its work.
log = logging.getLogger(__name__)


class MasterConnection(SentinelManagedConnection, OnlyMaster):
    """To the server that Sentinel names whenever a connection opens."""


class TlsMasterConnection(SentinelManagedSSLConnection, OnlyMaster):
    """As MasterConnection, over TLS."""


class NamedMasterPool(SentinelConnectionPool, MasterPool):
    """Follows Sentinel, and bounds its connections, as redis-py's own Sentinel pool does not."""

    def __init__(self, master: str, sentinel: Sentinel, **kwargs: Any) -> None:
        super().__init__(master, sentinel, **kwargs)  # type: ignore[no-untyped-call]
        self._ask_lock = asyncio.Lock()
        self._answers = 0
        self._failure: str | None = None

    async def get_master_address(self) -> Any:
        """Concurrent callers share the reply: redis-py's `Sentinel` loses sentinels if it is asked
        twice at once.
        """
        answers = self._answers
        async with self._ask_lock:
            if answers == self._answers:
                await self._ask()
        if self._failure is not None:
            raise MasterNotFoundError(self._failure)
        return self.master_address

    async def follow(self) -> None:
        """Runs until cancelled: disconnects from a replaced master, during calls too."""
        while True:
            await asyncio.sleep(_FOLLOW_S)
            try:
                await self.get_master_address()
            except MasterNotFoundError:
                # Open connections work without a sentinel; opening a new one raises the error.
                continue
            # The next turn closes a connection that was being opened meanwhile.
            await self._leave_others()

    async def _ask(self) -> None:
        try:
            address = await self.sentinel_manager.discover_master(self.service_name)
        except (RedisError, OSError) as error:
            self._failure = str(error)
        else:
            self._failure = None
            if self.master_address not in (None, address):
                log.warning("redis.master_changed", extra={"address": "{}:{}".format(*address)})
            self.master_address = address
            await self._leave_others()
        self._answers += 1

    async def _leave_others(self) -> None:
        for connection in (*self._available_connections, *self._in_use_connections):
            if connection.is_connected and self._address(connection) != self.master_address:
                await connection.disconnect(nowait=True)

    @staticmethod
    def _address(connection: Any) -> tuple[str, int]:
        return connection.host, connection.port


@asynccontextmanager
async def open_master_pool(url: SentinelUrl, **options: Any) -> AsyncIterator[NamedMasterPool]:
    """`options` are the pool's and its connections', as for a pool of one server."""
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        url.sentinels,
        sentinel_kwargs={
            "socket_connect_timeout": _CONNECT_TIMEOUT_S,
            "socket_timeout": _COMMAND_TIMEOUT_S,
            "ssl": url.tls,
            **url.sentinel_options,
        },
    )
    # redis-py reorders its list while it asks the sentinels.
    sentinels = tuple(sentinel.sentinels)
    connection_class = TlsMasterConnection if url.tls else MasterConnection
    pool = NamedMasterPool(
        url.master, sentinel, connection_class=connection_class, **options, **url.options
    )
    try:
        async with running(pool.follow()):
            yield pool
    finally:
        await pool.disconnect()
        for client in sentinels:
            await client.aclose()
