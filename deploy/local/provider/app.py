"""The stand-in as a plain ASGI application."""

import itertools
import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from deploy.local.provider import (
    answers,
    catalog,
    chat,
    directives,
    embeddings,
    messages,
    responses,
)
from deploy.local.provider.client import ClientGoneError, ConnectedClient, Message, Receive, Send
from deploy.local.provider.exchange import JSON, STAND_IN, Exchange, require_credential
from deploy.local.provider.oracle import Oracle
from deploy.local.provider.threads import Threads
from deploy.local.provider.wire import Family, RequestRefused, encode, error_body

ENDPOINTS = {
    row.path: row
    for row in (chat.ENDPOINT, responses.ENDPOINT, messages.ENDPOINT, embeddings.ENDPOINT)
}
_WAIT_LIMIT_MS = 60_000


class _Paging(msgspec.Struct, frozen=True):
    after: int = 0
    limit: int = 1_000
    wait_ms: int = 0


class OtherRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to anything but the generating endpoints."""

    client: ConnectedClient
    headers: dict[bytes, bytes]
    query: str

    @property
    def family(self) -> Family:
        return "anthropic" if b"anthropic-version" in self.headers else "openai"


Handler = Callable[[OtherRequest], Awaitable[Any]]


class StandIn:
    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._threads = Threads()
        # Ids must not repeat when the stand-in restarts in the middle of a test.
        self._run = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self._handlers: dict[tuple[str, str], Handler] = {
            ("GET", "/"): self._announce,
            ("GET", "/health"): self._health,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/messages/count_tokens"): self._count_tokens,
            ("GET", "/_stand-in/calls"): self._calls,
            ("DELETE", "/_stand-in/calls"): self._reset,
            ("GET", "/_stand-in/totals"): self._totals,
        }
        self._paths = {path for _, path in self._handlers} | set(ENDPOINTS)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            return
        client = ConnectedClient(receive, send)
        headers = dict(scope["headers"])
        endpoint = ENDPOINTS.get(scope["path"])
        if endpoint is None or scope["method"] != "POST":
            await self._handle(scope, client, headers)
            return
        token = f"{self._run}{next(self._numbers):012x}"
        with self._oracle:
            await Exchange(
                endpoint=endpoint,
                oracle=self._oracle,
                threads=self._threads,
                client=client,
                headers=headers,
                token=token,
            ).run()

    async def _handle(
        self, scope: Message, client: ConnectedClient, headers: dict[bytes, bytes]
    ) -> None:
        path, method = scope["path"], scope["method"]
        request = OtherRequest(client=client, headers=headers, query=scope["query_string"].decode())
        request_id = f"req_{self._run}{next(self._numbers):012x}"
        try:
            handler = self._handlers.get((method, path))
            if handler is None:
                raise _unrouted(method, path, known=path in self._paths)
            status, body = 200, encode(await handler(request))
        except RequestRefused as refusal:
            anthropic = path.startswith("/v1/messages")
            family: Family = "anthropic" if anthropic else request.family
            status, body = refusal.status, error_body(family, refusal, request_id)
        except ClientGoneError:
            return
        length = (b"content-length", b"%d" % len(body))
        ids = [(name, request_id.encode()) for name in (b"x-request-id", b"request-id")]
        await client.start(status, [STAND_IN, JSON, length, *ids])
        await client.write(body, more=False)

    async def _announce(self, _: OtherRequest) -> dict[str, Any]:
        return {
            "name": "local provider stand-in",
            "stand_in": True,
            "notice": "No model runs here. Answers are scripted, token counts are made up.",
            "endpoints": sorted(self._paths),
            "directives": directives.directive_lines(),
            "usage": "Put [[stand-in chunks=20 chunk_delay_ms=50]] into the last user message.",
        }

    async def _health(self, _: OtherRequest) -> dict[str, Any]:
        return {"status": "ok", "stand_in": True}

    async def _models(self, request: OtherRequest) -> dict[str, Any]:
        # Which format is asked for is told by the header, so either credential does.
        require_credential("anthropic", request.headers)
        if request.family == "anthropic":
            return catalog.anthropic_models()
        return catalog.openai_models()

    async def _count_tokens(self, request: OtherRequest) -> dict[str, Any]:
        require_credential("anthropic", request.headers)
        try:
            ask = messages.count_tokens(await request.client.body(), request.headers)
            script = directives.parse(ask.prompt)
        except (msgspec.DecodeError, directives.InvalidDirectiveError) as error:
            raise RequestRefused(400, f"invalid request: {error}") from error
        empty_answer = answers.ScriptedAnswer(pieces=())
        tokens = answers.scripted_tokens(ask, script, empty_answer, inclusive=False)
        return {"input_tokens": tokens.input_total}

    async def _calls(self, request: OtherRequest) -> dict[str, Any]:
        try:
            paging = msgspec.convert(dict(parse_qsl(request.query)), _Paging, strict=False)
        except msgspec.ValidationError as error:
            raise RequestRefused(400, f"query: {error}") from error
        wait_s = min(paging.wait_ms, _WAIT_LIMIT_MS) / 1000
        return await self._oracle.wait_page(paging.after, max(paging.limit, 1), wait_s)

    async def _reset(self, _: OtherRequest) -> dict[str, Any]:
        self._oracle.reset()
        return {"reset": True}

    async def _totals(self, _: OtherRequest) -> dict[str, Any]:
        return self._oracle.totals()


def _unrouted(method: str, path: str, *, known: bool) -> RequestRefused:
    if known:
        return RequestRefused(405, f"{method} is not allowed on {path}")
    return RequestRefused(404, f"{path} does not exist on this stand-in")


async def _live(receive: Receive, send: Send) -> None:
    """Nothing to open or close; the protocol still wants an answer."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
