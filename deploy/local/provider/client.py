"""The far end of an exchange: its request, its bytes, and whether it is still there."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from deploy.local.provider.wire import RequestRefused

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


BODY_LIMIT_BYTES = 64 * 1024 * 1024


class ClientGoneError(Exception):
    """The client closed the connection before the response was over."""


class ConnectedClient:
    """The far end of one exchange, which may go away at any moment."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._departure: asyncio.Task[None] | None = None

    async def body(self) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGoneError
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > BODY_LIMIT_BYTES:
                raise RequestRefused(413, f"the body is larger than {BODY_LIMIT_BYTES} bytes")
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _watch(self) -> asyncio.Task[None]:
        """The server swallows what is sent to a closed socket, so only `receive` tells."""
        if self._departure is None:
            self._departure = asyncio.create_task(self._depart())
        return self._departure

    async def _depart(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def wait(self, delay_ms: int) -> None:
        """Waits, at least for the event loop's next turn, while the client is there."""
        departure = self._watch()
        if delay_ms:
            await asyncio.wait({departure}, timeout=delay_ms / 1000)
        else:
            await asyncio.sleep(0)
        if departure.done():
            raise ClientGoneError

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, body: bytes, *, more: bool) -> Awaitable[None]:
        """Not a coroutine of its own: in a stream that would be one more for each frame."""
        return self._send({"type": "http.response.body", "body": body, "more_body": more})

    def close(self) -> None:
        if self._departure is not None:
            self._departure.cancel()
