"""Calls that go to a scripted provider through the engine and LiteLLM, and what came of them."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from libs.common.errors import AppError
from libs.common.schemas.usage import ClientFormat, TokenUsage
from libs.common.settings import Secret
from libs.common.storage.prices.price_map import PriceMap
from services.gateway.calls.attempts import Attempt
from services.gateway.directory.library_rows import library_target
from services.gateway.formats import FORMATS
from services.gateway.settings import Settings
from services.gateway.upstream.adapters.translator import Translator
from services.gateway.upstream.answer import Stream, WholeAnswer
from services.gateway.upstream.credentials import Credentials
from services.gateway.upstream.forward import Forwarder
from services.gateway.upstream.library_calls import LibraryCalls
from services.gateway.upstream.translation.profiles import Profiles
from tests.service.gateway.upstream import Upstream
from tests.support.translated_streams import written
from tests.unit.gateway.new_calls import new_call

NOW_MS = 1_790_000_000_000


class Response(NamedTuple):
    """The client's answer; a stream's as the data of its frames, and the error it broke off by."""

    body: Any
    headers: dict[str, str]
    usage: TokenUsage | None
    error: AppError | None = None
    status: int = 200


class LibraryWire:
    def __init__(self, upstream: Upstream, forwarder: Forwarder) -> None:
        self.upstream = upstream
        self._forwarder = forwarder

    @property
    def sent(self) -> Any:
        """The one body that went out."""
        (request,) = self.upstream.requests
        return request.fields

    async def ask(
        self,
        client: ClientFormat,
        name: str,
        body: Mapping[str, Any],
        *,
        drops: bool = False,
        key: str | None = "sk-secret",
    ) -> Response:
        """Of the model `name`, `provider/model`. Raises AppError as the engine does."""
        answer = await self.open(client, name, body, drops=drops, key=key)
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        if isinstance(answer, WholeAnswer):
            content = json.loads(answer.body)
            return Response(content, headers, answer.usage, status=answer.status)
        return await _read(answer, headers)

    async def open(
        self,
        client: ClientFormat,
        name: str,
        body: Mapping[str, Any],
        *,
        drops: bool = False,
        key: str | None = "sk-secret",
    ) -> WholeAnswer | Stream:
        """What `ask` reads."""
        provider, _, model = name.partition("/")

        target = library_target(provider, model, self.upstream.url)
        target = msgspec.structs.replace(
            target, api_key=None if key is None else Secret(key), drop_params=drops
        )
        call = new_call(FORMATS[client], now_ms=NOW_MS)
        request = call.format.decode(json.dumps({"model": "asked", **body}).encode())
        return await self._forwarder.send(Attempt(call, request, target, []))


async def _read(stream: Stream, headers: dict[str, str]) -> Response:
    assert stream.translation is not None
    try:
        output, error = await written(stream)
    finally:
        await stream.close()
    return Response(list(_events(output)), headers, stream.translation.usage(), error)


def _events(output: bytes) -> Iterable[Any]:
    for line in output.decode().splitlines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


@asynccontextmanager
async def wired(settings: Settings) -> AsyncIterator[LibraryWire]:
    relay: Any = None
    tokenizer: Any = None
    translator = Translator()
    forwarder = Forwarder(
        relay,
        LibraryCalls(translator, settings),
        Profiles(PriceMap.open(None)),
        tokenizer,
        Credentials({}, Path()),
    )
    upstream = Upstream()
    try:
        async with upstream.serving():
            yield LibraryWire(upstream, forwarder)
    finally:
        await translator.close()


def settings() -> Settings:
    """Of a gateway whose stores are not asked."""
    return Settings(mongo_uri=Secret("mongodb://nowhere/x"), redis_url=Secret("redis://nowhere"))
