"""Compares every answer that the tests get with what the OpenAPI document says of it."""

import json
from functools import cache
from typing import Any

import httpx2
import jsonschema_rs
from starlette.routing import Match, Route

from libs.common.web.json import encode_json
from libs.common.web.openapi import document_of
from services.admin.reference import describe
from services.admin.routes import ENDPOINTS, routes_of

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@cache
def document() -> dict[str, Any]:
    openapi: dict[str, Any] = json.loads(encode_json(document_of(describe(ENDPOINTS))))
    return openapi


@cache
def _routes() -> list[Route]:
    return routes_of(ENDPOINTS)


@cache
def _validators(path: str, method: str, status: int) -> dict[str, Any] | None:
    """Those of the schemas, by media type; None where the answer has no content."""
    openapi = document()
    response = openapi["paths"][path.replace(":path", "")][method]["responses"].get(str(status))
    assert response is not None, f"{method} {path} does not document the status {status}"
    if "content" not in response:
        return None
    common = {"$schema": _DIALECT, "components": openapi["components"]}
    return {
        media.partition(";")[0]: jsonschema_rs.validator_for(common | content["schema"])
        for media, content in response["content"].items()
    }


async def check_documented(answer: httpx2.Response) -> None:
    """For `event_hooks`."""
    method = answer.request.method
    scope = {"type": "http", "method": method, "path": answer.request.url.path}
    route = next((r for r in _routes() if r.matches(scope)[0] is Match.FULL), None)
    if route is None:
        return
    validators = _validators(
        route.path, "get" if method == "HEAD" else method.lower(), answer.status_code
    )
    content = await answer.aread()
    if validators is None or method == "HEAD":
        assert not content
        return
    media = answer.headers["content-type"].partition(";")[0]
    assert media in validators
    if media.endswith(("/json", "+json")):
        validators[media].validate(answer.json())
