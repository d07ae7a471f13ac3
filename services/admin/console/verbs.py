"""The API's verbs, called from a page as its actor would: with the same roles, audit and errors."""

from collections.abc import Awaitable, Callable, Mapping
from types import UnionType
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from libs.common.errors import Forbidden
from libs.common.web.json import encode_json
from services.admin.endpoints import Answer, Endpoint, EndpointCall, Next, Served
from services.admin.people.actor import Actor, check_global, check_role
from services.admin.state import State

T = TypeVar("T")


Query = Mapping[str, Any]
Headers = Mapping[str, str]


class Verbs:
    """Endpoints are named by their handlers, whose answers' types they have."""

    def __init__(
        self,
        request: Request[State],
        actor: Actor,
        serve: Next,
        endpoints: Mapping[Callable[..., Any], Endpoint],
    ) -> None:
        self._request = request
        self._actor = actor
        self._next = serve
        self._endpoints = endpoints

    async def call(
        self,
        handler: Callable[..., Awaitable[Answer[T]]],
        *,
        query: Query | None = None,
        body: Any = None,
        headers: Headers | None = None,
        **path: str,
    ) -> T:
        """The answer's content. Query parameters that are None or empty are left out."""
        answer = await self.answer(handler, query=query, body=body, headers=headers, **path)
        return answer.content

    async def answer(
        self,
        handler: Callable[..., Awaitable[Answer[T]]],
        *,
        query: Query | None = None,
        body: Any = None,
        headers: Headers | None = None,
        **path: str,
    ) -> Answer[T]:
        """With its headers, such as the ETag. Raises AppError."""
        content = b"" if body is None else encode_json(body)
        result = await self._serve(handler, query, content, headers, path)
        if isinstance(result, Response):
            # A request with an Idempotency-Key is answered as it was kept.
            answer_type = self._endpoints[handler].answer
            # Structs that are not told apart: their members will do.
            kind = Any if answer_type is None or isinstance(answer_type, UnionType) else answer_type
            decoded = msgspec.json.decode(result.body, type=kind)
            result = Answer(decoded, headers=dict(result.headers))
        return cast("Answer[T]", result)

    async def file(
        self, handler: Callable[..., Any], *, query: Query | None = None, **path: str
    ) -> Response:
        """An answer that is not JSON, such as an export, to be passed on as it is."""
        return cast("Response", await self._serve(handler, query, b"", None, path))

    async def _serve(
        self,
        handler: Callable[..., Any],
        query: Query | None,
        content: bytes,
        headers: Headers | None,
        path: Mapping[str, str],
    ) -> Served:
        endpoint = self._endpoints[handler]
        request = self._as(endpoint, query or {}, headers or {}, path)
        return await self._next(EndpointCall(endpoint=endpoint, request=request, content=content))

    def may(self, handler: Callable[..., Any]) -> bool:
        """Whether the actor's role and scope allow the verb; others are not offered."""
        try:
            self.check(handler)
        except Forbidden:
            return False
        return True

    def check(self, handler: Callable[..., Any]) -> None:
        """Raises Forbidden, as the verb would."""
        endpoint = self._endpoints[handler]
        if endpoint.role is not None:
            check_role(self._actor, endpoint.role)
            if endpoint.scope is None:
                check_global(self._actor)

    def _as(
        self, endpoint: Endpoint, query: Query, headers: Headers, path: Mapping[str, str]
    ) -> Request[State]:
        parameters = {name: value for name, value in query.items() if value not in (None, "")}
        fields = {"content-type": "application/json", **headers}
        scope = {
            **self._request.scope,
            "method": endpoint.method,
            "path": endpoint.path,
            "path_params": path,
            "query_string": urlencode(parameters).encode(),
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
            "actor": self._actor,
        }
        return Request(scope)
