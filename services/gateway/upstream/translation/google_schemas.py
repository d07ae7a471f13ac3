"""Schemas of tools in the part of JSON schema that Gemini's functions know.

What it has no word for is said in words of the description: LiteLLM would leave it out, and make
an object of whatever has no type left.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE

MAX_LEVELS = 64
_MAX_CACHED = 1_024
_ANY: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": "number"},
    {"type": "boolean"},
    {"type": "object"},
    {"type": "array", "items": {"type": "string"}},
]
_TYPES: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}
# Of these only the description can tell.
_TOLD = (
    "format",
    "multipleOf",
    "uniqueItems",
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "propertyNames",
    "prefixItems",
    "contains",
    "dependentRequired",
    "dependentSchemas",
)
_TABLES = ("properties", "$defs", "definitions")
_TYPED = ("type", "anyOf", "$ref", "enum")
_encode = msgspec.json.encode

# Clients send the same tools with each call.
_cache: dict[bytes, msgspec.Raw | None] = {}


class TooDeep(Exception):
    """A schema has more than `MAX_LEVELS`."""


def adapted_schema(schema: msgspec.Raw) -> msgspec.Raw | None:
    """None where nothing of it had to be said otherwise. Raises TooDeep."""
    data = bytes(schema)
    key = sha256(data).digest()
    if key not in _cache:
        if len(_cache) >= _MAX_CACHED:
            _cache.clear()
        _cache[key] = _adapt(data)
    return _cache[key]


def _adapt(data: bytes) -> msgspec.Raw | None:
    try:
        root = msgspec.json.decode(data, type=dict[str, Any])
    except UNREADABLE:
        return None
    walk = _Walk(root)
    adapted = walk.node(root, 1)
    if not adapted.get("type") and not adapted.get("anyOf") and "$ref" not in adapted:
        adapted["type"] = "object"
    return msgspec.Raw(_encode(adapted)) if walk.has_changed else None


class _Walk:
    """Through one schema; what it makes of it is its own."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.has_changed = False
        self._root = root
        self._steps: tuple[Callable[[dict[str, Any]], None], ...] = (
            self._merge_all,
            self._name_any,
            self._say_constant,
            self._say_values,
            self._bound,
            self._tell,
        )

    def node(self, schema: Any, level: int) -> dict[str, Any]:
        if level > MAX_LEVELS:
            raise TooDeep
        if not isinstance(schema, dict):
            # `true` is any value, and so is the lack of a schema.
            self.has_changed = True
            return {"anyOf": _ANY}
        node = dict(schema)
        for step in self._steps:
            step(node)
        for name in _TABLES:
            if isinstance(node.get(name), dict):
                node[name] = {key: self.node(each, level + 1) for key, each in node[name].items()}
        if isinstance(node.get("anyOf"), list):
            node["anyOf"] = [self.node(each, level + 1) for each in node["anyOf"]]
        if "items" in node:
            node["items"] = self.node(node["items"], level + 1)
        elif node.get("type") == "array":
            self.has_changed = True
            node["items"] = {"anyOf": _ANY}
        if level > 1 and not any(name in node for name in _TYPED):
            self._give_type(node)
        return node

    def _merge_all(self, node: dict[str, Any]) -> None:
        """What all of several schemas ask for, as one."""
        schemas = node.pop("allOf", None)
        if not isinstance(schemas, list):
            return
        self.has_changed = True
        for each in schemas:
            other = self._resolve(each) if len(schemas) > 1 or len(node) > 1 else each
            if not isinstance(other, dict):
                continue
            for name, value in other.items():
                if name == "properties" and isinstance(node.get(name), dict):
                    node[name] = {**value, **node[name]}
                elif name == "required" and isinstance(node.get(name), list):
                    node[name] = list(dict.fromkeys([*node[name], *value]))
                else:
                    node.setdefault(name, value)

    def _resolve(self, schema: Any) -> Any:
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        node: Any = self._root
        for name in reference[2:].split("/"):
            node = node.get(name) if isinstance(node, dict) else None
        return node

    def _name_any(self, node: dict[str, Any]) -> None:
        if "oneOf" in node:
            self.has_changed = True
            node.setdefault("anyOf", node.pop("oneOf"))
            node.pop("oneOf", None)

    def _say_constant(self, node: dict[str, Any]) -> None:
        if "const" in node:
            self.has_changed = True
            node["enum"] = [node.pop("const")]

    def _say_values(self, node: dict[str, Any]) -> None:
        """Values that are one of several; Gemini knows them of texts alone."""
        values = node.get("enum")
        if not isinstance(values, list):
            return
        non_null = [value for value in values if value is not None]
        if non_null and all(isinstance(value, str) for value in non_null):
            if node.get("type") == "string" and len(non_null) == len(values):
                return
            self.has_changed = True
            node |= {"type": "string", "enum": non_null}
            if len(non_null) < len(values):
                node["nullable"] = True
            return
        self.has_changed = True
        del node["enum"]
        kinds = {_TYPES.get(type(value)) for value in non_null}
        if "type" not in node and len(kinds) == 1 and None not in kinds:
            node["type"] = kinds.pop()
        text = ", ".join(_encode(value).decode() for value in values)
        _describe(node, f"One of: {text}." if len(values) > 1 else f"Always {text}.")

    def _bound(self, node: dict[str, Any]) -> None:
        """Bounds that the values themselves do not reach; of integers, the next number."""
        for name, inner, step in (
            ("exclusiveMinimum", "minimum", 1),
            ("exclusiveMaximum", "maximum", -1),
        ):
            value = node.pop(name, None)
            if value is None:
                continue
            self.has_changed = True
            if type(value) is int and node.get("type") == "integer":
                node.setdefault(inner, value + step)
            else:
                _describe(node, f"{name}: {_encode(value).decode()}.")

    def _tell(self, node: dict[str, Any]) -> None:
        for name in _TOLD:
            if name in node:
                self.has_changed = True
                _describe(node, f"{name}: {_encode(node.pop(name)).decode()}.")
        member_schema = node.get("additionalProperties")
        if isinstance(member_schema, dict):
            self.has_changed = True
            del node["additionalProperties"]
            _describe(node, f"Members of any name, each of: {_encode(member_schema).decode()}.")

    def _give_type(self, node: dict[str, Any]) -> None:
        self.has_changed = True
        if "properties" in node:
            node["type"] = "object"
        elif "items" in node:
            node["type"] = "array"
        else:
            node["anyOf"] = _ANY


def _describe(node: dict[str, Any], line: str) -> None:
    text = node.get("description")
    node["description"] = f"{text} {line}" if isinstance(text, str) and text else line
