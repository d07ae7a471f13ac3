"""Runs gatewayctl in this process, against an ASGI app of this event loop."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from gatewayctl.app import main
from gatewayctl.terminal import Terminal
from gatewayctl.values import decode_json
from tests.service.admin.conftest import ADMIN_KEY, NOW

URL = "http://admin"


class Stream(io.StringIO):
    def __init__(self, text: str = "", *, is_terminal: bool = False) -> None:
        super().__init__(text)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


class CommandResult:
    """A command's exit code, and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def rows(self) -> list[Any]:
        return [decode_json(line) for line in self.out.splitlines()]

    @property
    def row(self) -> Any:
        (row,) = self.rows
        return row


class FromThread(httpx.BaseTransport):
    """The command line is synchronous, so it runs in a thread; the app runs in the loop."""

    def __init__(self, app: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._loop = loop
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop).result()

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        content = b"".join([piece async for piece in response.stream])  # type: ignore[union-attr]
        return httpx.Response(response.status_code, headers=response.headers, content=content)


class CommandLine:
    """`ctl("accounts", "list")` runs a command. `environ` is all of its environment."""

    def __init__(self, transport: httpx.BaseTransport, environ: Mapping[str, str]) -> None:
        self.transport = transport
        self.environ = dict(environ)

    async def __call__(
        self,
        *arguments: str,
        stdin: str = "",
        terminal: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> CommandResult:
        return await asyncio.to_thread(
            run,
            *arguments,
            transport=self.transport,
            stdin=stdin,
            terminal=terminal,
            environ=self.environ if environ is None else environ,
        )

    async def run_ok(self, *arguments: str, **options: Any) -> CommandResult:
        """Runs a command, which has to succeed."""
        result = await self(*arguments, **options)
        assert result.code == 0, (arguments, result.err, result.out)
        return result


def run(
    *arguments: str,
    transport: httpx.BaseTransport | None = None,
    stdin: str = "",
    terminal: bool = False,
    environ: Mapping[str, str],
) -> CommandResult:
    out, err = Stream(is_terminal=terminal), Stream(is_terminal=terminal)
    surroundings = Terminal(
        stdin=Stream(stdin, is_terminal=terminal),
        stdout=out,
        stderr=err,
        environ=environ,
        transport=transport,
        sleep=lambda _: None,
        now=lambda: NOW,
    )
    code = main(list(arguments), surroundings)
    return CommandResult(code, out.getvalue(), err.getvalue())


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[CommandLine]:
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": {**(state or {})}}, receive, send)

        transport = FromThread(with_state, asyncio.get_running_loop())
        environ = {"GATEWAYCTL_URL": URL, "GATEWAYCTL_KEY": ADMIN_KEY, "COLUMNS": "160"}
        yield CommandLine(transport, environ)
