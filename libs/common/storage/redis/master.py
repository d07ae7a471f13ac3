"""Connections that are kept to a master only, and the pool that they belong to.

A demoted master keeps its clients' connections open, answers their reads, and rejects their writes
for ever. So a connection asks for the server's role when it opens, and the first error that no
master gives closes all connections of the pool: the next ones are opened where the name in the URL
(or Sentinel) points by then. A subscriber gets no error and leaves with the others.
"""

from time import monotonic
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, SSLConnection
from redis.asyncio.connection import AbstractConnection, UnixDomainSocketConnection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, ReadOnlyError, ResponseError

# Errors of a replica, or of a master without its replicas, which another master may have. Before
# Redis 7, a script's error has the word in the middle.
_NO_REPLICAS = ("NOREPLICAS", "-NOREPLICAS")
_NO_MASTER = ("READONLY", "-READONLY", "MASTERDOWN", *_NO_REPLICAS)
# A master without its replicas may be the only one: it then rejects every write.
_STAY_S = 5.0


class RedisUnsuitable(RedisConnectionError):
    """The server works, but is not one that the gateway can use. One line that says why."""


def says_no_master(error: Exception) -> bool:
    """Whether Redis gave this error since it may not be the master."""
    # redis-py takes the word out of these errors' texts.
    return isinstance(error, (ReadOnlyError, MasterDownError)) or any(
        word in _NO_MASTER for word in str(error).split()
    )


class OnlyMaster(AbstractConnection):
    """Goes behind a class of redis-py's, whose methods it overrides."""

    pool: "MasterPool"

    async def on_connect(self) -> None:
        await super().on_connect()
        # The name may still point to the old master. Every user may send HELLO.
        await self.send_command("HELLO", check_health=False)
        try:
            reply = await self.read_response()
        except ResponseError as error:
            if "unknown command" in str(error):
                # A proxy, or older than Redis 6.
                return
            raise
        # A dict if the URL asks for RESP3.
        pairs = reply.items() if isinstance(reply, dict) else zip(*[iter(reply)] * 2, strict=True)
        facts = dict(pairs)
        _check_mode(self.pool, facts.get(b"mode"))
        if facts.get(b"role", b"master") != b"master" and not self.pool.takes_replicas:
            raise RedisConnectionError(f"{_address(self)} is not a master")

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            reply = await super().read_response(*args, **kwargs)
        except ResponseError as error:
            await self._leave_after(error)
            raise
        if isinstance(reply, list):
            # The answers of a transaction, or of a script that goes on after errors.
            for part in reply:
                if isinstance(part, ResponseError):
                    await self._leave_after(part)
        return reply

    async def _leave_after(self, error: ResponseError) -> None:
        """Raises RedisConnectionError if another server may be the master."""
        if not says_no_master(error):
            return
        await self.disconnect(nowait=True)
        await self.pool.leave_after(error)
        raise RedisConnectionError(f"the server may not be the master: {error}") from None


class TcpConnection(Connection, OnlyMaster):
    """To the host that a URL names; its name is looked up whenever a connection opens."""


class TlsConnection(SSLConnection, OnlyMaster):
    """As TcpConnection, over TLS."""


class SocketConnection(UnixDomainSocketConnection, OnlyMaster):
    """To a server on this machine."""


_CLASSES = {SSLConnection: TlsConnection, UnixDomainSocketConnection: SocketConnection}


class MasterPool(BlockingConnectionPool):
    """Bounds the connections and the wait for one."""

    # Whether the server has to be a node of a cluster; else it may not be one.
    in_cluster = False
    takes_replicas = False
    _stay_until = 0.0

    def make_connection(self) -> Any:
        connection = super().make_connection()  # type: ignore[no-untyped-call]
        connection.pool = self
        return connection

    async def leave_after(self, error: Exception) -> None:
        """Closes all connections, those in use too."""
        if any(word in _NO_REPLICAS for word in str(error).split()):
            if monotonic() < self._stay_until:
                return
            self._stay_until = monotonic() + _STAY_S
        for connection in (*self._available_connections, *self._in_use_connections):
            await connection.disconnect(nowait=True)


def _check_mode(pool: MasterPool, mode: bytes | None) -> None:
    """Raises RedisUnsuitable. Some proxies do not tell the mode."""
    if mode == b"cluster" and not pool.in_cluster:
        raise RedisUnsuitable(
            "REDIS_URL names a node of a Redis Cluster: write redis+cluster:// (with TLS, "
            "rediss+cluster://) instead of redis:// or rediss://"
        )
    if mode == b"standalone" and pool.in_cluster:
        raise RedisUnsuitable(
            "REDIS_URL names a server that is not a node of a Redis Cluster: write redis:// (with "
            "TLS, rediss://) instead of redis+cluster://"
        )


def server_pool(url: str, **options: Any) -> MasterPool:
    """Connects lazily. The URL's options override `options`."""
    options |= parse_url(url)
    connection_class = options.pop("connection_class", Connection)
    return MasterPool(connection_class=_CLASSES.get(connection_class, TcpConnection), **options)


def _address(connection: Any) -> str:
    return str(connection._host_error())  # noqa: SLF001 - host and port, or the socket's path
