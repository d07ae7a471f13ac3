"""The gateway describes what it serves, to anybody."""

from typing import cast

import jsonschema_rs
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from services.gateway.app import create_app
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.stage import Client
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


async def test_every_path_is_described(gateway: Client, settings_with: SettingsWith) -> None:
    document = (await gateway.http.get("/openapi.json")).json()
    paths = {
        route.path.replace(":path", "")
        for route in cast("Starlette", create_app(settings_with())).routes
        if isinstance(route, Route)
    }
    assert set(document["paths"]) == paths - {"/openapi.json", "/docs"}
    for operations in document["paths"].values():
        for operation in operations.values():
            for reply in operation["responses"].values():
                for content in reply.get("content", {}).values():
                    jsonschema_rs.meta.validate({"$schema": _DIALECT, **content["schema"]})


async def test_only_generations_stream(gateway: Client) -> None:
    document = (await gateway.http.get("/openapi.json")).json()
    paths = {
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if "text/event-stream" in operation["responses"]["200"].get("content", {})
    }
    assert paths == {"/v1/chat/completions", "/v1/messages", "/v1/responses"}


async def test_the_page_loads_nothing(gateway: Client) -> None:
    answer = await gateway.http.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "/v1/chat/completions" in answer.text
    assert "<script" not in answer.text
    assert "src=" not in answer.text


async def test_answers_are_as_described(gateway: Client, books: Books) -> None:
    document = (await gateway.http.get("/openapi.json")).json()
    bearer = {"authorization": f"Bearer {await books.add_key()}"}
    for path in ("/v1/budget", "/v1/usage", "/v1/models"):
        for headers, status in ((bearer, "200"), ({}, "4XX")):
            reply = document["paths"][path]["get"]["responses"][status]
            schema = reply["content"]["application/json"]["schema"]
            answer = await gateway.http.get(path, headers=headers)
            assert (answer.status_code == 200) == (status == "200")
            jsonschema_rs.validate(
                {"$schema": _DIALECT, "components": document["components"], **schema}, answer.json()
            )
