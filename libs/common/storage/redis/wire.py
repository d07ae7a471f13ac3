"""One connection to Redis whose commands are pipelined: its callers' commands leave together.

redis-py opens the connection (Sentinel, TLS, passwords). This module then reads and writes its
transport: redis-py's own pipelines take a lease from the pool, a task and a timer for each reply,
which cost a call several times what the commands themselves do.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from libs.common.storage.redis.master import MasterPool, says_no_master

_MAX_WAITING = 20_000
_NOTHING = object()
# redis-py parses the texts of a cluster's redirections.
_ERRORS: dict[str, Callable[[str], RedisError]] = {
    "NOSCRIPT": NoScriptError,
    "OOM": OutOfMemoryError,
    "READONLY": ReadOnlyError,
    "MOVED": lambda text: MovedError(text.partition(" ")[2]),  # type: ignore[no-untyped-call]
    "ASK": lambda text: AskError(text.partition(" ")[2]),  # type: ignore[no-untyped-call]
    "TRYAGAIN": TryAgainError,
    "CLUSTERDOWN": ClusterDownError,
}


class Link:
    """Keeps one connection of a pool open, for as long as it is used."""

    def __init__(
        self, pool: ConnectionPool, timeout_s: float, *, writes_at_once: bool = True
    ) -> None:
        """`writes_at_once`: an idle connection does not wait for the tick's other commands."""
        self._pool = pool
        self._timeout_s = timeout_s
        self._writes_at_once = writes_at_once
        self.wire: Wire | None = None
        self._opening: asyncio.Task[Wire] | None = None

    def send(self, packed: bytes, replies: int) -> Awaitable[Any]:
        wire = self.wire
        if wire is None or wire.is_closed:
            return self._open_and_send(packed, replies)
        return wire.send(packed, replies)

    async def _open_and_send(self, packed: bytes, replies: int) -> Any:
        wire = await self.open()
        return await wire.send(packed, replies)

    async def open(self) -> "Wire":
        """The open connection, or a new one, for which concurrent callers wait together."""
        if self.wire is not None and not self.wire.is_closed:
            return self.wire
        opening = self._opening
        if opening is None:
            opening = self._opening = asyncio.create_task(self._connect())
            opening.add_done_callback(self._on_opened)
        return await asyncio.shield(opening)

    def _on_opened(self, opening: "asyncio.Task[Wire]") -> None:
        self._opening = None
        if not opening.cancelled():
            # If all callers are cancelled, asyncio would log an error that was never retrieved.
            opening.exception()

    async def _connect(self) -> "Wire":
        if self.wire is not None:
            wire, self.wire = self.wire, None
            await self._give_back(wire.connection)
            if wire.no_master is not None and isinstance(self._pool, MasterPool):
                await self._pool.leave_after(wire.no_master)
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._pool.get_connection()
        except TimeoutError:
            raise RedisTimeoutError("Redis did not accept a connection in time") from None
        try:
            self.wire = Wire(connection, self._timeout_s, writes_at_once=self._writes_at_once)
        except RedisConnectionError:
            await self._give_back(connection)
            raise
        return self.wire

    async def _give_back(self, connection: AbstractConnection) -> None:
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)


class _Ask:
    """A caller that waits for the last of several replies, and the first error among them."""

    __slots__ = ("error", "future", "replies", "since")

    def __init__(self, future: asyncio.Future[Any], replies: int, since: float) -> None:
        self.future = future
        self.replies = replies
        self.since = since
        self.error: Exception | None = None

    def answer(self, last_reply: Any) -> None:
        """Does nothing if the caller is cancelled."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(last_reply)


class Wire(asyncio.Protocol):
    """Takes over the transport of a connection that redis-py has opened, until it ends."""

    def __init__(
        self, connection: AbstractConnection, timeout_s: float, *, writes_at_once: bool = True
    ) -> None:
        self.connection = connection
        self._timeout_s = timeout_s
        self._writes_at_once = writes_at_once
        self.is_closed = False
        # Why the next connection has to go to another server.
        self.no_master: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._pending: deque[_Ask] = deque()
        self._unsent: list[bytes] = []
        self._reader = hiredis.Reader(notEnoughData=_NOTHING, replyError=_error_of)
        self._watch: asyncio.TimerHandle | None = None
        # redis-py has no public access to them.
        reader, writer = connection._reader, connection._writer  # noqa: SLF001
        if reader is None or writer is None:
            raise RedisConnectionError("the connection is closed")
        self._transport = cast("asyncio.Transport", writer.transport)
        if reader.at_eof() or self._transport.is_closing():
            # The end was reported before this protocol was set, and is not reported again.
            raise RedisConnectionError("Redis closed the connection")
        self._opener = cast("asyncio.Protocol", self._transport.get_protocol())
        self._transport.set_protocol(self)

    def send(self, packed: bytes, replies: int) -> asyncio.Future[Any]:
        """Writes with the tick's other commands, but at once if it may and is idle."""
        if self.is_closed:
            # The connection was lost before its caller ran.
            raise RedisConnectionError("the connection to Redis was lost")
        if len(self._pending) >= _MAX_WAITING:
            raise RedisError("too many commands wait for Redis")
        now = self._loop.time()
        if self._watch is None:
            self._watch = self._loop.call_at(now + self._timeout_s, self._look)
        if self._unsent:
            self._unsent.append(packed)
        elif self._pending or not self._writes_at_once:
            self._unsent.append(packed)
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(packed)
        ask = _Ask(self._loop.create_future(), replies, now)
        self._pending.append(ask)
        return ask.future

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if not self.is_closed:
            self._transport.write(b"".join(unsent))

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING:
                ask = self._pending[0]
                ask.replies -= 1
                if isinstance(reply, Exception):
                    self._note(ask, reply)
                if not ask.replies:
                    self._pending.popleft()
                    ask.answer(reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self._fail(RedisConnectionError(f"Redis' reply cannot be parsed: {error}"))

    def eof_received(self) -> None:
        self._fail(RedisConnectionError("Redis closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(RedisConnectionError(f"the connection to Redis was lost: {exc}"))
        self._opener.connection_lost(exc)

    def _note(self, ask: _Ask, error: Exception) -> None:
        # The first error has the reason; the transaction's own only says that one occurred.
        ask.error = ask.error or error
        if says_no_master(error):
            self._loop.call_soon(self.leave_after, error)

    def leave_after(self, error: Exception) -> None:
        """The next command connects anew if the server may no longer be the master."""
        if not self.is_closed and says_no_master(error):
            self.no_master = error
            self._fail(error)

    def _look(self) -> None:
        """Checks the oldest command's deadline. A timer for each command would cost too much."""
        self._watch = None
        if not self._pending:
            return
        due = self._pending[0].since + self._timeout_s
        if due <= self._loop.time():
            self._fail(RedisTimeoutError("Redis did not answer in time"))
        else:
            self._watch = self._loop.call_at(due, self._look)

    def _fail(self, error: Exception) -> None:
        self.is_closed = True
        self._transport.abort()
        pending, self._pending = self._pending, deque()
        _give_up(pending, error)


def _give_up(pending: Iterable[_Ask], error: Exception) -> None:
    for ask in pending:
        if not ask.future.done():
            ask.future.set_exception(error)


def _error_of(text: str) -> RedisError:
    return _ERRORS.get(text.split(" ", 1)[0], ResponseError)(text)
