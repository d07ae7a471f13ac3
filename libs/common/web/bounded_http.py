"""uvicorn's HTTP protocol, with bounds on the bytes before and between request bodies.

uvicorn bounds neither the size of a head nor its number of fields nor its time, and the parser
copies an unfinished field with each piece that arrives: a client without a key could make it copy
without end. The bounds cost a request about two microseconds: bytes are counted by the piece, and
only while no head is complete.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import httptools
import msgspec
from starlette.responses import Response
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from libs.common.errors import AppError, HeadTooLarge, InvalidRequest, RequestTimeout
from libs.common.web.unread_responses import ReadingProtocol

# Writes an error in the format of the request's path, which may be incomplete or empty.
Refuse = Callable[[str, AppError], Response]


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """`max_idle` counts connections without a request under way."""

    head_bytes: int = 64 * 1024
    head_fields: int = 200
    head_timeout_s: float = 15.0
    max_idle: int = 1024
    max_pipelined: int = 16


BOUNDS = Bounds()


def bounded_protocol(
    bounds: Bounds, refuse: Refuse, send_timeout_s: float
) -> type[asyncio.Protocol]:
    """For `uvicorn.Config(http=…)`, which calls it like a class. Each server needs its own."""
    return cast(
        "type[asyncio.Protocol]", partial(BoundedProtocol, bounds, refuse, {}, send_timeout_s)
    )


# Copying a larger body costs more than a second write.
_MAX_JOINED_BYTES = 64 * 1024


class JoinedWrites:
    """A transport for one response: joins its head and its body in one write.

    uvicorn writes each by itself, which costs a system call and often a packet. A head without
    `content-length` is written at once, since the first part of a stream may come much later.
    """

    __slots__ = ("_cycle", "_head", "_transport")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            if len(data) <= _MAX_JOINED_BYTES:
                data = head + data
            else:
                self._transport.write(head)
        elif data.startswith(b"HTTP/") and b"\r\ncontent-length: " in data:
            self._head = data
            return
        # Later writes, such as the rest of a stream, go to the connection itself.
        self._cycle.transport = self._transport
        self._transport.write(data)

    def close(self) -> None:
        if self._head:
            self._transport.write(self._head)
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class BoundedProtocol(ReadingProtocol):
    """A connection, which waits for a head or for the body of a request.

    `idle` holds the server's connections without a request, longest idle first.
    """

    def __init__(
        self,
        bounds: Bounds,
        refuse: Refuse,
        idle: dict["BoundedProtocol", None],
        send_timeout_s: float,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(send_timeout_s, config, server_state, app_state, _loop)
        self.url = b""
        self._bounds = bounds
        self._refuse = refuse
        self._idle = idle
        self._awaits_head = True
        self._heads = 0
        # Bytes that completed neither a head nor a piece of a body.
        self._framing_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._error: AppError | None = None
        # The request's `upgrade` field, while its head is parsed again without the field.
        self._upgrade: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_deadline()
        self._become_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._idle.pop(self, None)
        self._clear_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        room = self._bounds.head_bytes - self._framing_bytes
        if len(data) > room:
            self.data_received(data[:room])
            if not self.transport.is_closing():
                self.data_received(data[room:])
            return
        awaited_head, heads, cycle = self._awaits_head, self._heads, self.cycle
        body_bytes = 0 if awaited_head else len(cycle.body)
        self._parse(data)
        if self._heads != heads or self._awaits_head != awaited_head:
            return
        if awaited_head:
            self._count(len(data))
            if self._deadline is None:
                self._set_deadline()
        elif cycle.response_complete or len(cycle.body) > body_bytes:
            self._framing_bytes = 0
        else:
            # Chunk extensions or trailers.
            self._count(len(data))

    def on_headers_complete(self) -> None:
        if len(self.headers) > self._bounds.head_fields:
            self._error = HeadTooLarge(
                f"The request has more than {self._bounds.head_fields} header fields. Send fewer."
            )
        if self._error is not None or len(self.pipeline) >= self._bounds.max_pipelined:
            # Stops the parser, as bytes that are not HTTP do.
            raise ValueError("the request is refused")
        if self._upgrade is not None:
            self.headers.append((b"upgrade", self._upgrade))
            self._upgrade = None
        elif self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("CONNECT is not supported")
            self._upgrade = dict(self.headers).get(b"upgrade", b"")
            return
        self._awaits_head = False
        self._heads += 1
        self._framing_bytes = 0
        if self._deadline is not None:
            self._clear_deadline()
        self._idle.pop(self, None)
        super().on_headers_complete()
        if self.parser.get_method() != b"HEAD":
            self.cycle.transport = cast("asyncio.Transport", JoinedWrites(self.cycle))

    def on_message_complete(self) -> None:
        if self._upgrade is not None:
            return
        self._awaits_head = True
        self._framing_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._become_idle()
        if self._framing_bytes or not self._awaits_head:
            # The next head has begun, or the rest of this body is still to come.
            self._set_deadline()

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse(self._head_without_upgrade() + data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self._close_with(self._error or InvalidRequest("The request is not valid HTTP."))

    def _head_without_upgrade(self) -> bytes:
        """Starts a new parser, and returns the head for it.

        A server may ignore a request to upgrade. The parser would then take its body for the next
        request, which would let a client smuggle a request past a proxy in front.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b\r\n" % (method, self.url, version)]
        lines += (b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade")
        self.parser = httptools.HttpRequestParser(self)
        # uvicorn's own setting.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"".join((*lines, b"\r\n"))

    def _count(self, size: int) -> None:
        self._framing_bytes += size
        if self._framing_bytes >= self._bounds.head_bytes:
            self._close_with(
                HeadTooLarge(
                    "The request's address and header fields together are larger than "
                    f"{self._bounds.head_bytes} bytes. Send fewer or shorter ones."
                )
            )

    def _become_idle(self) -> None:
        """Closes the connection that has been idle for longest if there are too many."""
        if self.transport.is_closing():
            return
        self._idle[self] = None
        if len(self._idle) > self._bounds.max_idle:
            longest = next(iter(self._idle))
            del self._idle[longest]
            longest.transport.close()

    def _set_deadline(self) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(self._bounds.head_timeout_s, self._expire)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self._is_serving():
            # `on_response_complete` sets the deadline again.
            return
        if self._framing_bytes:
            within = f"{self._bounds.head_timeout_s:g} s"
            self._close_with(RequestTimeout(f"The request's head did not arrive within {within}."))
        else:
            self.transport.close()

    def _is_serving(self) -> bool:
        # uvicorn's type leaves out None, the value before the first request.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _close_with(self, error: AppError) -> None:
        """Sends the error, unless another response has begun or is due before it, then closes."""
        if self.transport.is_closing():
            return
        if not self._is_serving():
            self.transport.write(self._response(error))
        else:
            cycle = self.cycle
            if not (self._awaits_head or cycle.response_started or self.pipeline):
                self.transport.write(self._response(error))
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def _response(self, error: AppError) -> bytes:
        path = self.url.partition(b"?")[0].decode("latin-1")
        response = self._refuse(path, error)
        lines = [STATUS_LINE[response.status_code]]
        lines += (b"%b: %b\r\n" % header for header in response.raw_headers)
        return b"".join((*lines, b"connection: close\r\n\r\n", response.body))
