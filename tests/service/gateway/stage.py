"""A gateway that serves over real sockets, its settings, and a client of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from libs.common.settings import Secret
from services.gateway.app import create_app
from services.gateway.endpoints.parts import Parts
from services.gateway.settings import Settings
from services.gateway.spool.backlog import Metered
from services.gateway.state import State, open_state
from services.gateway.usage.meter import Meter
from tests.support.polling import PATIENCE_S
from tests.support.sockets import serving
from tests.users import as_user

PROVIDER_KEY = "sk-provider"
CHAT_MODEL, MESSAGES_MODEL, OTHER_MODEL = "gpt-4o", "claude-haiku-4-5", "gemini/gemini-tiny"

_RATES = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
PRICE_MAP = {
    CHAT_MODEL: {"litellm_provider": "openai", "mode": "chat", "supports_vision": True, **_RATES},
    MESSAGES_MODEL: {
        "litellm_provider": "anthropic",
        "mode": "chat",
        "supports_vision": True,
        **_RATES,
    },
    OTHER_MODEL: {"litellm_provider": "gemini", "mode": "chat", **_RATES},
}
StateFactory = Callable[[Settings], AbstractAsyncContextManager[State]]


class Client:
    """A client of one gateway."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def post(
        self, path: str, secret: str | None, body: Any, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        """`body` is JSON unless it is bytes already."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        client_headers = {"content-type": "application/json", **bearer(secret), **(headers or {})}
        return await self.http.post(path, content=content, headers=client_headers)


def bearer(secret: str | None) -> dict[str, str]:
    return {} if secret is None else {"authorization": f"Bearer {secret}"}


def settings_for(
    mongo_uri: str, redis_url: str, upstream_url: str, directory: Path, /, **changes: Any
) -> Settings:
    """Both native providers are at `upstream_url`; the spool is in `directory`.

    Of MongoDB the gateway may only read, so that each of its tests shows that it does no more.
    """
    prices = directory / "prices.json"
    prices.write_text(json.dumps(PRICE_MAP))
    fields: dict[str, Any] = {
        "mongo_uri": Secret(as_user(mongo_uri, "gateway")),
        "redis_url": Secret(redis_url),
        "openai_api_key": Secret(PROVIDER_KEY),
        "openai_base_url": f"{upstream_url}/v1",
        "anthropic_api_key": Secret(PROVIDER_KEY),
        "anthropic_base_url": upstream_url,
        "price_map_path": str(prices),
        "spool_dir": str(directory / "spool"),
    }
    return Settings(**(fields | changes))


@asynccontextmanager
async def open_gateway(
    settings: Settings, state_factory: StateFactory = open_state
) -> AsyncIterator[Client]:
    """A gateway of this process, behind a real HTTP server."""
    async with serving(create_app(settings, state_factory)) as url, connected(url) as client:
        yield client


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A client of the gateway at the URL."""
    async with httpx2.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as http:
        yield Client(http)


class Announcing:
    """A meter that says when it is given an event."""

    def __init__(self, meter: Meter, committing: asyncio.Event) -> None:
        self._meter = meter
        self._committing = committing

    async def enqueue(self, metered: Metered) -> None:
        self._committing.set()
        await self._meter.enqueue(metered)

    def enqueue_nowait(self, metered: Metered) -> None:
        self._meter.enqueue_nowait(metered)

    def require_writable(self, user_id: str) -> None:
        self._meter.require_writable(user_id)


def with_parts(change: Callable[[Parts, State, Settings], dict[str, Any]]) -> StateFactory:
    """The usual state, but for those parts of the gateway that `change` returns."""

    @asynccontextmanager
    async def open_changed(settings: Settings) -> AsyncIterator[State]:
        async with open_state(settings) as state:
            parts = state["parts"]
            changed = msgspec.structs.replace(parts, **change(parts, state, settings))
            yield State(**(state | {"parts": changed}))

    return open_changed
