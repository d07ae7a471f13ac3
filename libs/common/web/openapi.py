"""OpenAPI 3.1 documents, made from what services declare: their operations and msgspec types.

Amounts are numbers, as they are on the wire. Objects that a service reads refuse unknown members;
those that it answers may get further ones.
"""

import inspect
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Any

import msgspec

# A msgspec type, or a schema as it is.
Schema = Any
Json = dict[str, Any]
_REF = "#/components/schemas/"
_OPENAPI = "3.1.1"
_CONVERTER = re.compile(r"\{(\w+):\w+\}")
# What msgspec makes of `Page[EntryView]`.
_GENERIC = re.compile(r"(\w+?)_(\w+)_$")
JSON = "application/json"


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """Beside those of the query: of the path, where all are required, or a header."""

    name: str
    place: str
    description: str
    schema: Json = msgspec.field(default_factory=lambda: {"type": "string"})


class OperationReply(msgspec.Struct, frozen=True, kw_only=True):
    """What a status, or a kind of them (4XX), means.

    `content` is by media type; `headers` are described by their names.
    """

    description: str
    content: Mapping[str, Schema] = {}
    headers: Mapping[str, str] = {}


class ApiOperation(msgspec.Struct, frozen=True, kw_only=True):
    """`path` may have Starlette's converters. `keyed` needs a key; `body` is of JSON."""

    method: str
    path: str
    operation_id: str
    summary: str
    tag: str
    description: str = ""
    parameters: Sequence[Parameter] = ()
    query: type[msgspec.Struct] | None = None
    body: Schema = None
    replies: Mapping[int | str, OperationReply]
    keyed: bool = True


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """`keys` describes how requests show theirs; `tags` what each of them is about."""

    title: str
    version: str
    description: str
    keys: Mapping[str, Json]
    operations: Sequence[ApiOperation]


def document_of(service: Service) -> Json:
    types = list(dict.fromkeys(_types(service.operations)))
    found, components = msgspec.json.schema_components(types, ref_template=_REF + "{name}")
    schemas = dict(zip(types, found, strict=True))
    document: Json = {
        "openapi": _OPENAPI,
        "info": {
            "title": service.title,
            "version": service.version,
            "description": service.description,
        },
        "tags": [{"name": name} for name in dict.fromkeys(o.tag for o in service.operations)],
        "paths": {},
        "components": {"schemas": components, "securitySchemes": dict(service.keys)},
    }
    for operation in service.operations:
        path = _CONVERTER.sub(r"{\1}", operation.path)
        operation_object = _operation_object(operation, schemas, components, list(service.keys))
        document["paths"].setdefault(path, {})[operation.method.lower()] = operation_object
    _close(document, components)
    for operation in service.operations:
        if operation.query is not None:
            components.pop(_name_of(schemas[operation.query]), None)
    document["components"]["schemas"] = _by_readable_name(components)
    plain: Json = _plain(document)
    return plain


def _by_readable_name(components: Json) -> Json:
    """Raises ValueError for two types of one name, which clients could not tell apart."""
    renamed = {_readable(name): component for name, component in components.items()}
    modules = [name for name in renamed if "." in name]
    if modules or len(renamed) < len(components):
        raise ValueError(f"Types share a name: {modules or sorted(components)}")
    return renamed


def _readable(name: str) -> str:
    """Of a component, or of a reference to it: `EntryViewPage`."""
    return _GENERIC.sub(r"\2\1", name)


def _types(operations: Iterable[ApiOperation]) -> Iterable[Any]:
    for operation in operations:
        schemas = [operation.query, operation.body]
        schemas += [each for reply in operation.replies.values() for each in reply.content.values()]
        for each in schemas:
            if each is not None and not isinstance(each, dict):
                yield from _members(each)


def _members(declared: Any) -> tuple[Any, ...]:
    """Of a union of structs, which msgspec cannot tell apart."""
    return typing.get_args(declared) if isinstance(declared, UnionType) else (declared,)


def _operation_object(
    operation: ApiOperation, schemas: Mapping[Any, Json], components: Json, keys: Sequence[str]
) -> Json:
    def schema(declared: Schema) -> Json:
        if isinstance(declared, dict):
            return declared
        members = _members(declared)
        return schemas[declared] if len(members) == 1 else {"anyOf": [schemas[m] for m in members]}

    operation_object: Json = {
        "operationId": operation.operation_id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": [{name: []} for name in keys] if operation.keyed else [],
        "responses": {
            str(status): _reply(reply, schema) for status, reply in operation.replies.items()
        },
    }
    if operation.description:
        operation_object["description"] = inspect.cleandoc(operation.description)
    parameters = [_parameter(each) for each in operation.parameters]
    if operation.query is not None:
        parameters += _query_parameters(components[_name_of(schema(operation.query))])
    if parameters:
        operation_object["parameters"] = parameters
    if operation.body is not None:
        body = schema(operation.body)
        fields = components.get(_name_of(body), body)
        operation_object["requestBody"] = {
            "content": {JSON: {"schema": body}},
            "required": bool(fields.get("required")),
        }
    return operation_object


def _reply(reply: OperationReply, schema: Any) -> Json:
    response: Json = {"description": reply.description}
    if reply.content:
        response["content"] = {
            media: {"schema": schema(content)} for media, content in reply.content.items()
        }
    if reply.headers:
        response["headers"] = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in reply.headers.items()
        }
    return response


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _query_parameters(struct: Json) -> list[Json]:
    """Absent is what null is in a body."""
    required = struct.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _not_null(schema)}
        for name, schema in struct.get("properties", {}).items()
    ]


def _not_null(schema: Json) -> Json:
    parts = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    match parts:
        case []:
            return schema
        case [only]:
            return {**only, **rest}
        case _:
            return {"anyOf": parts, **rest}


def _name_of(schema: Json) -> str:
    return str(schema.get("$ref", "")).removeprefix(_REF)


def _close(document: Json, components: Json) -> None:
    """Objects that bodies have refuse members that they do not name."""
    waiting = [
        operation["requestBody"]
        for path in document["paths"].values()
        for operation in path.values()
        if "requestBody" in operation
    ]
    closed: set[str] = set()
    while waiting:
        for name in set(_references(waiting.pop())) - closed:
            closed.add(name)
            waiting.append(components[name])
            components[name].setdefault("additionalProperties", False)


def _references(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield _name_of(node)
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _references(each)


def _plain(node: Any) -> Any:
    """In fewer words, and with amounts as numbers."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    return _plain_schema({name: _plain(value) for name, value in node.items()})


def _plain_schema(schema: Json) -> Json:
    """Also of what is not a schema: then nothing applies."""
    if isinstance(schema.get("$ref"), str):
        schema["$ref"] = _readable(schema["$ref"])
    if schema.get("format") == "decimal":
        del schema["format"]
        schema["type"] = "number"
        if isinstance(schema.get("default"), str):
            schema["default"] = msgspec.json.decode(schema["default"])
    if all(isinstance(each, str) for each in schema.get("enum") or (0,)):
        schema["type"] = "string"
    if schema.get("type") == "array" or "array" in _alternatives(schema):
        schema.setdefault("items", {})
    if isinstance(schema.get("title"), str) and "type" in schema:
        del schema["title"]
    if isinstance(schema.get("description"), str):
        schema["description"] = inspect.cleandoc(schema["description"])
    for name, silent in (("required", []), ("default", None)):
        if name in schema and schema[name] == silent:
            del schema[name]
    return schema


def _alternatives(schema: Json) -> list[Any]:
    kinds = schema.get("type")
    return kinds if isinstance(kinds, list) else []
