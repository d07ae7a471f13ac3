"""The OpenAPI document is one, and says of the requests what the service holds them to."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from libs.common.web.json import encode_json
from libs.common.web.openapi import document_of
from libs.common.web.reference import page_of
from services.admin.reference import APPENDIX, describe
from services.admin.routes import ENDPOINTS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(encode_json(document_of(describe(ENDPOINTS))))
    return content


def _schemas(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        if isinstance(node.get("schema"), dict):
            yield node["schema"]
        for each in node.values():
            yield from _schemas(each)
    elif isinstance(node, list):
        for each in node:
            yield from _schemas(each)


def test_every_schema_is_one_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    components = document["components"]["schemas"]
    schemas = [*_schemas(document["paths"]), *components.values()]
    assert len(schemas) > 100
    for schema in schemas:
        jsonschema_rs.meta.validate({"$schema": _DIALECT, **schema})
    used = {text.rpartition("/")[2] for text in _references(document)}
    assert used <= components.keys()
    assert components.keys() <= used, "an object that nothing refers to"


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for each in node.values():
            yield from _references(each)
    elif isinstance(node, list):
        for each in node:
            yield from _references(each)


def test_every_endpoint_is_documented_under_a_unique_name(document: dict[str, Any]) -> None:
    endpoints = [
        (method, path, operation["operationId"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    assert len(endpoints) == len(ENDPOINTS)
    assert len({name for _, _, name in endpoints}) == len(endpoints)


def test_bodies_are_closed_and_amounts_are_numbers(document: dict[str, Any]) -> None:
    components = document["components"]["schemas"]
    account = components["NewAccount"]
    assert account["additionalProperties"] is False
    assert account["required"] == ["user_id"]
    assert components["BudgetBody"]["additionalProperties"] is False
    assert components["BudgetBody"]["properties"]["limit_usd"]["type"] == "number"
    assert account["properties"]["price_multiplier"]["default"] == 1
    assert "additionalProperties" not in components["AccountView"]
    assert '"decimal"' not in json.dumps(document)


def test_the_schema_states_the_rules_of_fields(document: dict[str, Any]) -> None:
    account = document["components"]["schemas"]["NewAccount"]["properties"]
    user_id = jsonschema_rs.validator_for(account["user_id"])
    assert user_id.is_valid("a@b.c")
    assert not user_id.is_valid("a/b")
    assert not user_id.is_valid("a b")
    metadata = jsonschema_rs.validator_for(account["metadata"])
    assert metadata.is_valid({"a": "b"})
    assert not metadata.is_valid({"$where": "b"})


def test_the_page_asks_for_nothing_and_leads_to_every_error(document: dict[str, Any]) -> None:
    page = page_of(document, APPENDIX)
    assert "src=" not in page
    assert "http://" not in page
    assert "https://" not in page.replace("^https?://", "")
    assert "<script" not in page
    for code, _ in APPENDIX[1]:
        assert f'id="{code}"' in page
