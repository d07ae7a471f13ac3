"""Routes of tests, and the endpoints that their deployments lead to: one provider, many paths."""

import json
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from libs.common.schemas.invalidation import Invalidation
from libs.common.schemas.route import Deployment, Route
from libs.common.storage.mongo.routes import RouteStore
from libs.common.storage.redis.invalidation import publish
from tests.service.gateway.dialects import CHAT, Dialect
from tests.service.gateway.upstream import Script, Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books


def deployment(
    upstream: Upstream, name: str, model: str = "openai/gpt-4o", **fields: Any
) -> Deployment:
    """At an address of its own: `/name/v1` of the scripted provider."""
    defaults = {"deployment_id": f"{name}-{uuid4().hex}", "api_base": f"{upstream.url}/{name}/v1"}
    return Deployment(model=model, **(defaults | fields))


async def add_route(books: Books, *deployments: Deployment, **fields: Any) -> str:
    """Its name; cooldowns do not get in the way of tests that are not about them."""
    name = fields.pop("model", f"route-{uuid4().hex}")
    route = Route(model=name, deployments=deployments, **{"cooldown_after": 100, **fields})
    assert await RouteStore(books.database).insert(route)
    return str(name)


async def announce(books: Books, model: str) -> None:
    await publish(books.redis, Invalidation(kind="route", id=model))


class Endpoints:
    """Answers by the name that a deployment's address begins with, well unless told otherwise."""

    def __init__(self, upstream: Upstream, dialect: Dialect = CHAT) -> None:
        self._upstream = upstream
        self._dialect = dialect
        self._scripts: dict[str, Script] = {}
        upstream.does(self._answer)

    def fails(self, name: str, status: int, body: Any = None, **headers: str) -> None:
        """From now on."""
        self.answers(name, {"error": {"message": "no"}} if body is None else body, status, headers)

    def answers(
        self, name: str, body: Any, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        content = json.dumps(body).encode()
        fields = {header.replace("_", "-"): value for header, value in (headers or {}).items()}

        async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
            await connection.answer(content, status=status, headers=fields)

        self._scripts[name] = script

    def streams(self, name: str, frames: Iterable[bytes]) -> None:
        all_frames = list(frames)

        async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
            await connection.stream(all_frames)

        self._scripts[name] = script

    def does(self, name: str, script: Script) -> None:
        self._scripts[name] = script

    @property
    def calls(self) -> list[str]:
        """Which ones were called, in order."""
        return [_name_of(request) for request in self._upstream.requests]

    async def _answer(self, request: UpstreamRequest, connection: UpstreamConnection) -> None:
        script = self._scripts.get(_name_of(request))
        if script is not None:
            await script(request, connection)
        elif request.fields.get("stream"):
            await connection.stream(self._dialect.frames)
        else:
            await connection.answer(self._dialect.answer)


def _name_of(request: UpstreamRequest) -> str:
    return request.path.split("/")[1]
