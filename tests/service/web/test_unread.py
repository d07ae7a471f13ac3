"""A client that does not read its response is cut off; one that reads, however slowly, is not."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from libs.common.errors import AppError
from libs.common.web.bounded_http import BOUNDS, bounded_protocol
from libs.common.web.unread_responses import UNREAD

_PATIENCE_S = 15.0
_BODY = b"x" * 16_000_000
_READ_BYTES = 128 * 1024


async def whole(_scope: Scope, _receive: Receive, send: Send) -> None:
    length = b"%d" % len(_BODY)
    headers = [(b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})


async def in_parts(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    part = _BODY[:100_000]
    for _ in range(len(_BODY) // len(part)):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


def refuse(_path: str, error: AppError) -> Response:
    return Response(status_code=error.status)


@asynccontextmanager
async def connected(app: object, timeout_s: float) -> AsyncIterator[socket.socket]:
    """A client that has sent its request, to a server with that timeout."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=bounded_protocol(BOUNDS, refuse, timeout_s),
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve(sockets=[listener]))
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _READ_BYTES)
        client.setblocking(False)
        await loop.sock_connect(client, listener.getsockname())
        await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        yield client
    server.should_exit = True
    await running


async def read_all(client: socket.socket, pause: Callable[[], Awaitable[None]]) -> tuple[int, bool]:
    """How many bytes came until `_BODY` or the end, and whether the connection still stands."""
    loop, received = asyncio.get_running_loop(), 0
    async with asyncio.timeout(_PATIENCE_S):
        while received < len(_BODY):
            try:
                part = await loop.sock_recv(client, _READ_BYTES)
            except ConnectionResetError:
                return received, False
            if not part:
                return received, False
            received += len(part)
            await pause()
    return received, True


@pytest.mark.parametrize("app", [whole, in_parts])
async def test_a_client_that_does_not_read_is_disconnected(app: object) -> None:
    before = UNREAD._value.get()
    async with connected(app, 0.05) as client:
        async with asyncio.timeout(_PATIENCE_S):
            while UNREAD._value.get() == before:
                await asyncio.sleep(0.01)
        received, stands = await read_all(client, lambda: asyncio.sleep(0))
    assert not stands
    assert received < len(_BODY)
    assert UNREAD._value.get() == before + 1


@pytest.mark.parametrize("app", [whole, in_parts])
async def test_a_client_that_reads_slowly_is_served(app: object) -> None:
    before = UNREAD._value.get()
    async with connected(app, 0.5) as client:
        received, stands = await read_all(client, lambda: asyncio.sleep(0.005))
    assert stands
    assert received >= len(_BODY)
    assert UNREAD._value.get() == before
