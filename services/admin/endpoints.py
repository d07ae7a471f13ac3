"""An endpoint: a row of the route table, and how its requests are served.

A handler is `async def (request, query, body) -> Answer[...]`, without `query` or `body` where it
has none. Their structs are those of its annotations, so a handler gets what it declares, and the
table repeats nothing.
"""

import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from types import NoneType
from typing import Any, Generic, Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from libs.common.errors import AppError
from libs.common.schemas.person import Role
from libs.common.web.json import json_response
from libs.common.web.openapi import JSON
from services.admin.people.actor import Actor
from services.admin.state import State
from services.admin.validation import (
    MAX_BODY_BYTES,
    NoQuery,
    decode_query,
    decode_struct,
    read_json_body,
)

T = TypeVar("T")

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
_NO_CONTENT = 204


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """`content` is a struct. Without a `status`, it is the first of the endpoint's."""

    content: T
    status: int | None = None
    headers: Mapping[str, str] = {}


# Whatever is not JSON: an export, a page.
Served = Answer[Any] | Response
EndpointHandler = Callable[..., Awaitable[Served]]


class EndpointCall(msgspec.Struct, frozen=True, kw_only=True):
    """A request at its endpoint. `content` is its body as it came, empty where there is none."""

    endpoint: "Endpoint"
    request: Request[State]
    content: bytes


Next = Callable[[EndpointCall], Awaitable[Served]]
# A layer around each endpoint, such as roles; `Next` serves the call.
Around = Callable[[EndpointCall, Next], Awaitable[Served]]


# Raises NotFound for what is of an account beyond the actor's scope.
ScopeCheck = Callable[[EndpointCall, Actor], Awaitable[None]]


class Endpoint(msgspec.Struct, frozen=True, dict=True):
    """A row of the table. `role` is the least that may call it; None is anybody, without a key.

    `statuses` are those of its answers, the usual one first; `errors` those that not every endpoint
    may have; `media` is the type of an answer that is not a struct, `also` are others that a
    request may ask for. `writes` tells what the method does not: a POST that changes nothing.
    Without a `scope` it is closed to actors with accounts in scope; else this check keeps them to
    these.
    """

    method: Method
    path: str
    handler: EndpointHandler
    summary: str
    role: Role | None = "viewer"
    statuses: tuple[int, ...] = (200,)
    errors: tuple[type[AppError], ...] = ()
    max_body_bytes: int = MAX_BODY_BYTES
    media: str = JSON
    also: tuple[str, ...] = ()
    writes: bool | None = None
    scope: ScopeCheck | None = None

    @property
    def tag(self) -> str:
        """The noun that its path begins with; what needs no key is the service's own."""
        if self.role is None:
            return "service"
        return self.path.removeprefix("/admin").split("/")[1]

    @property
    def is_write(self) -> bool:
        return self.method != "GET" if self.writes is None else self.writes

    @cached_property
    def query(self) -> type[msgspec.Struct]:
        return self._hints.get("query", NoQuery)  # type: ignore[no-any-return]

    @cached_property
    def body(self) -> type[msgspec.Struct] | None:
        return self._hints.get("body")

    @cached_property
    def answer(self) -> Any:
        """The type of the answer's content; None where it has none, or is not JSON."""
        returned = self._hints["return"]
        for option in (returned, *typing.get_args(returned)):
            if typing.get_origin(option) is Answer:
                (content,) = typing.get_args(option)
                return None if content is NoneType else content
        return None

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self.handler, include_extras=True)


def route_of(path: str, endpoints: Sequence[Endpoint], around: Sequence[Around] = ()) -> Route:
    """One route for all methods of a path, so that a 405 lists all of them."""
    by_method = {endpoint.method: endpoint for endpoint in endpoints}
    serve = served_within(around)

    async def dispatch(request: Request[State]) -> Response:
        endpoint = by_method["GET" if request.method == "HEAD" else request.method]  # type: ignore[index]
        content = b""
        if endpoint.body is not None:
            content = await read_json_body(request, endpoint.max_body_bytes)
        call = EndpointCall(endpoint=endpoint, request=request, content=content)
        return response_of(endpoint, await serve(call))

    return Route(path, dispatch, methods=list(by_method))


def served_within(around: Sequence[Around]) -> Next:
    """Serves a call through its layers, the first outermost."""
    serve: Next = _call_handler
    for each in reversed(around):
        serve = _within(each, serve)
    return serve


def _within(around: Around, inner: Next) -> Next:
    return lambda call: around(call, inner)


async def _call_handler(call: EndpointCall) -> Served:
    """Decodes the query and the body, and hands them to the handler. Raises AppError."""
    endpoint, request = call.endpoint, call.request
    arguments: dict[str, Any] = {}
    if endpoint.role is not None:
        now = request.state["now"]()
        query = decode_query(request, endpoint.query, now)
        if endpoint.query is not NoQuery:
            arguments["query"] = query
        if endpoint.body is not None:
            arguments["body"] = decode_struct(call.content, endpoint.body, now)
    return await endpoint.handler(request, **arguments)


def response_of(endpoint: Endpoint, answer: Served) -> Response:
    if isinstance(answer, Response):
        return answer
    status = endpoint.statuses[0] if answer.status is None else answer.status
    if status == _NO_CONTENT:
        return Response(status_code=status, headers=answer.headers)
    return json_response(answer.content, status=status, headers=answer.headers)
