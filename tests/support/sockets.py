"""Servers of the test's own process, on free ports."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

from libs.common.web.bounded_http import BOUNDS, Bounds, Refuse
from libs.common.web.server import server_options
from services.gateway.endpoints.refusals import refuse
from tests.servers import HOST

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def accepting(
    handle: Handle,
    *,
    tls: ssl.SSLContext | None = None,
    receive_buffer: int | None = None,
    port: int = 0,
) -> AsyncIterator[int]:
    """The port of a server that runs `handle` on each connection and then closes it.

    At the end the open connections are reset, and what any `handle` raised is raised here, unless
    its connection had ended.
    """
    listener = socket.create_server((HOST, port))
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handle(reader, writer)
        writer.transport.abort() if task.cancelling() else writer.close()

    port = listener.getsockname()[1]
    server = await asyncio.start_server(connected, sock=listener, ssl=tls)
    try:
        yield port
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


@asynccontextmanager
async def serving(
    app: ASGIApp,
    *,
    grace_s: int = 5,
    send_timeout_s: float = 60,
    refuse: Refuse = refuse,
    bounds: Bounds = BOUNDS,
) -> AsyncIterator[str]:
    """Any ASGI application at the URL, as `serve` does; connections wait until it has started."""
    listener = socket.create_server((HOST, 0), backlog=512)
    options = server_options(
        refuse=refuse, grace_s=grace_s, send_timeout_s=send_timeout_s, bounds=bounds
    )
    config = uvicorn.Config(app, **options)
    server = uvicorn.Server(config)
    # Its public `serve` would take the process' signals.
    task = asyncio.create_task(server._serve(sockets=[listener]))
    try:
        yield "http://{}:{}".format(*listener.getsockname())
    finally:
        server.should_exit = True
        await task
