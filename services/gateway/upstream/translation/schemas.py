"""Checks a JSON schema against a provider's strict dialect; never rewrites it."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Literal

import msgspec

from libs.common.decode_errors import UNREADABLE

Dialect = Literal["openai", "anthropic"]

_MAX_DEPTH = {"openai": 10, "anthropic": 64}
_MAX_PROPERTIES = 5_000
_REFUSED: dict[Dialect, frozenset[str]] = {
    "openai": frozenset(
        {
            "allOf",
            "oneOf",
            "not",
            "if",
            "then",
            "else",
            "dependentRequired",
            "dependentSchemas",
            "patternProperties",
        }
    ),
    "anthropic": frozenset(
        {
            "oneOf",
            "not",
            "if",
            "then",
            "else",
            "dependentRequired",
            "dependentSchemas",
            "patternProperties",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "maxItems",
            "uniqueItems",
            "minProperties",
            "maxProperties",
        }
    ),
}
_FORMATS = frozenset(
    {
        "date-time",
        "time",
        "date",
        "duration",
        "email",
        "hostname",
        "uri",
        "ipv4",
        "ipv6",
        "uuid",
    }
)
_TABLES = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf", "prefixItems")
_MAX_CACHED = 1_024

# Clients send the same tools with each call.
_cache: dict[tuple[bytes, Dialect], str | None] = {}


def schema_problem(schema: msgspec.Raw, dialect: Dialect) -> str | None:
    """The reason, for the client, why the schema leaves the dialect; None if it fits."""
    data = bytes(schema)
    key = (sha256(data).digest(), dialect)
    if key not in _cache:
        if len(_cache) >= _MAX_CACHED:
            _cache.clear()
        _cache[key] = _problem(data, dialect)
    return _cache[key]


def _problem(data: bytes, dialect: Dialect) -> str | None:
    try:
        root = msgspec.json.decode(data, type=dict[str, Any])
    except UNREADABLE:
        return "the schema must be an object"
    if dialect == "openai" and "anyOf" in root:
        return "a strict schema must not have 'anyOf' at its root"
    properties = 0
    for node, depth in _nodes(root, 1):
        if depth > _MAX_DEPTH[dialect]:
            return f"a strict schema may have at most {_MAX_DEPTH[dialect]} levels"
        properties += len(_table(node.get("properties")))
        if properties > _MAX_PROPERTIES:
            return f"a strict schema may have at most {_MAX_PROPERTIES} properties"
        problem = _problem_here(node, dialect)
        if problem is not None:
            return problem
    if dialect == "anthropic" and _is_recursive(root):
        return "a strict schema must not contain itself by '$ref'"
    return None


def _nodes(root: Any, depth: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The schemas in a schema, without recursion: the client chooses how deep they are."""
    stack = [(root, depth)]
    while stack:
        node, depth = stack.pop()
        if not isinstance(node, dict):
            continue
        yield node, depth
        inner = [node.get("items"), node.get("additionalProperties")]
        inner += (each for name in _LISTS for each in _list(node.get(name)))
        stack += ((each, depth + 1) for each in inner)
        for name in _TABLES:
            # Definitions are as deep as where they are used, which is not followed.
            level = depth + 1 if name == "properties" else 1
            stack += ((each, level) for each in _table(node.get(name)).values())


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _problem_here(node: dict[str, Any], dialect: Dialect) -> str | None:
    for keyword in node:
        if keyword in _REFUSED[dialect]:
            return f"a strict schema must not have '{keyword}' at this provider"
    if node.get("type") == "object" or "properties" in node:
        if node.get("additionalProperties") is not False:
            return "each object of a strict schema needs 'additionalProperties': false"
        if dialect == "openai":
            missing = set(_table(node.get("properties"))) - set(
                map(str, _list(node.get("required")))
            )
            if missing:
                return f"a strict schema must require {min(missing)[:64]!r} too"
    return _anthropics(node) if dialect == "anthropic" else None


def _anthropics(node: dict[str, Any]) -> str | None:
    if isinstance(node.get("type"), list):
        return "a strict schema must have 'anyOf' in place of a list of types at this provider"
    if node.get("minItems", 0) not in (0, 1):
        return "a strict schema may have only 0 or 1 as 'minItems' at this provider"
    form = node.get("format")
    if isinstance(form, str) and form not in _FORMATS:
        return f"a strict schema must not have the format {form[:64]!r} at this provider"
    reference = node.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        return "a strict schema must not have a '$ref' to another document"
    return None


def _is_recursive(root: dict[str, Any]) -> bool:
    """Whether a chain of references leads back to where it has been."""
    graph = {"#": _references(root)}
    for table in _TABLES[1:]:
        for name, schema in _table(root.get(table)).items():
            graph[f"#/{table}/{name}"] = _references(schema)
    visited: set[str] = set()
    return any(_returns(start, graph, visited) for start in graph)


def _references(node: Any) -> set[str]:
    """Of a definition; those of the root are of its own schema, not of its definitions."""
    references: set[str] = set()
    body = node
    if isinstance(node, dict):
        body = {name: value for name, value in node.items() if name not in _TABLES[1:]}
    for inner, _ in _nodes(body, 1):
        reference = inner.get("$ref")
        if isinstance(reference, str):
            references.add(reference)
    return references


def _returns(start: str, graph: dict[str, set[str]], visited: set[str]) -> bool:
    """Depth first, with a stack of its own."""
    path = {start}
    stack = [(start, iter(graph[start]))]
    while stack:
        name, successors = stack[-1]
        successor = next(successors, None)
        if successor is None:
            stack.pop()
            path.discard(name)
            visited.add(name)
        elif successor in path:
            return True
        elif successor in graph and successor not in visited:
            path.add(successor)
            stack.append((successor, iter(graph[successor])))
    return False
