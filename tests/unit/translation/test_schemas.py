"""Strict dialects of JSON schemas."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.upstream.translation.schemas import Dialect, schema_problem


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels - 1):
        schema = closed(a=schema)
    return schema


def problem(schema: Any, dialect: Dialect) -> str | None:
    return schema_problem(msgspec.Raw(json.dumps(schema).encode()), dialect)


TEXT = {"type": "string"}
REFERRING = closed(a={"$ref": "#/$defs/n"})
RECURSIVE = {**REFERRING, "$defs": {"n": closed(next={"anyOf": [{"$ref": "#/$defs/n"}, TEXT]})}}


@pytest.mark.parametrize(
    ("schema", "openai", "anthropic"),
    [
        (closed(), None, None),
        (closed(a=TEXT, b={"anyOf": [TEXT, {"type": "null"}]}), None, None),
        ({**REFERRING, "$defs": {"n": closed(a=TEXT)}}, None, None),
        (closed(a={"type": "array", "items": closed(b=TEXT), "minItems": 1}), None, None),
        (closed(a={"enum": ["x"]}, b={"const": 1}), None, None),
        ({"type": "object"}, "additionalProperties", "additionalProperties"),
        (closed(a={"type": "object", "properties": {}}), "additionalProperties", "additional"),
        ({**closed(a=TEXT), "additionalProperties": {}}, "additional", "additional"),
        ({**closed(a=TEXT), "required": []}, "'a'", None),
        (closed(a={"allOf": [TEXT]}), "'allOf'", None),
        (closed(a={"oneOf": [TEXT]}), "'oneOf'", "'oneOf'"),
        (closed(a={"not": TEXT}), "'not'", "'not'"),
        (closed(a={"anyOf": [{"type": "object"}]}), "additional", "additional"),
        (closed(a={"type": ["string", "null"]}), None, "'anyOf'"),
        (closed(a={"type": "integer", "minimum": 1}), None, "'minimum'"),
        (closed(a={"type": "string", "maxLength": 1}), None, "'maxLength'"),
        (closed(a={"type": "array", "items": TEXT, "minItems": 2}), None, "'minItems'"),
        (closed(a={"type": "string", "format": "uuid"}), None, None),
        (closed(a={"type": "string", "format": "color"}), None, "'color'"),
        (closed(a={"$ref": "https://x/y.json"}), None, "another document"),
        (RECURSIVE, None, "'$ref'"),
        ({**closed(a={"$ref": "#"})}, None, "'$ref'"),
        ({"anyOf": [closed()]}, "root", None),
        (deep(10), None, None),
        (deep(11), "10 levels", None),
        ([], "must be an object", "must be an object"),
        ({"type": "object", "properties": 5, "additionalProperties": False}, None, None),
        (closed(minimum=TEXT), None, None),
    ],
)
def test_a_dialect_is_checked(schema: Any, openai: str | None, anthropic: str | None) -> None:
    for dialect, expected in (("openai", openai), ("anthropic", anthropic)):
        found = problem(schema, dialect)  # type: ignore[arg-type]
        if expected is None:
            assert found is None
        else:
            assert found is not None
            assert expected in found


def test_a_schema_has_a_bounded_number_of_properties() -> None:
    fields = {f"f{number}": TEXT for number in range(5_000)}
    assert problem(closed(**fields), "openai") is None
    assert "5000" in (problem(closed(one=TEXT, **fields), "openai") or "")


@pytest.mark.parametrize("depth", [900, 100_000])
def test_no_schema_is_too_deep_to_look_at(depth: int) -> None:
    text = '{"items":' * depth + "{}" + "}" * depth
    for dialect in ("openai", "anthropic"):
        assert schema_problem(msgspec.Raw(text.encode()), dialect) is not None


KEYWORDS = st.sampled_from(
    ["type", "properties", "required", "items", "anyOf", "$defs", "$ref", "format", "minItems"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["object", "#", "#/$defs/a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYWORDS | st.sampled_from(["a", "b"]), inner, max_size=4)
    ),
)


@given(schema=VALUES)
def test_any_json_can_be_looked_at(schema: Any) -> None:
    for dialect in ("openai", "anthropic"):
        found = problem(schema, dialect)
        assert found is None or found
