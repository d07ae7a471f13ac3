"""The route table says what its handlers do, and every path reaches its own handler."""

import inspect
import re
import typing

import msgspec
from starlette.responses import Response
from starlette.routing import Match

from services.admin.endpoints import Answer, Endpoint
from services.admin.routes import ENDPOINTS, routes_of


def check_handler(endpoint: Endpoint) -> None:
    hints = typing.get_type_hints(endpoint.handler)
    returned = hints.pop("return")
    either = typing.get_origin(returned) is typing.Union
    for each in typing.get_args(returned) if either else (returned,):
        assert typing.get_origin(each) is Answer or issubclass(each, Response)
    first, *parameters = inspect.signature(endpoint.handler).parameters
    assert first in ("request", "_")
    assert set(parameters) <= {"query", "body"}
    assert all(issubclass(hints[name], msgspec.Struct) for name in parameters)
    if endpoint.role is None:
        assert not parameters, "without a key nothing is decoded"
    else:
        assert endpoint.path.startswith("/admin/")
    if endpoint.method == "GET":
        assert endpoint.body is None
    elif endpoint.is_write:
        assert endpoint.role != "viewer"


def test_a_handler_takes_and_answers_what_can_be_documented() -> None:
    for endpoint in ENDPOINTS:
        try:
            check_handler(endpoint)
        except AssertionError as error:
            error.add_note(f"{endpoint.method} {endpoint.path}")
            raise


def test_a_path_has_each_method_once() -> None:
    rows = [(endpoint.method, endpoint.path) for endpoint in ENDPOINTS]
    assert len(set(rows)) == len(rows)


def test_no_earlier_path_serves_the_requests_of_a_later_one() -> None:
    routes = routes_of(ENDPOINTS)
    for endpoint in ENDPOINTS:
        path = re.sub(r"\{\w+(:path)?\}", "x", endpoint.path)
        scope = {"type": "http", "method": endpoint.method, "path": path}
        matches = [route.path for route in routes if route.matches(scope)[0] is Match.FULL]
        assert matches[0] == endpoint.path, endpoint.method
