"""Finds the objects that a request names and the ones that an answer brought, by `object_fields`.

Nothing is parsed where the bytes have none of the names; where they have, all members count, those
of a name that comes twice included, since which of them a provider takes is not known.
"""

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from libs.common.errors import InvalidJSON, InvalidRequest
from libs.common.schemas.usage import ClientFormat
from services.gateway.formats.object_fields import (
    ANSWER_FIELDS,
    ANY,
    OBJECT_FIELDS,
    OPAQUE,
    Members,
    ObjectFields,
    Rule,
)

# Small letters, an underscore or a 1 as escapes: no encoder writes them so, but somebody who wants
# a name to be overlooked may.
_DISGUISED = re.compile(rb"\\u00(?:31|5[fF]|[67][0-9a-fA-F])")
# Of the body itself; `input` is what Responses calls the conversation.
_CLIENTS_OWN = OPAQUE - {"input"}
_MAX_NAMED = 256
_MAX_NODES = 500_000

_parts = msgspec.json.Decoder(list[msgspec.Raw])
# Objects as tuples of pairs; numbers name nothing, and a long one must not be computed.
_decode = json.JSONDecoder(object_pairs_hook=tuple, parse_int=float).decode


class NamedObject(msgspec.Struct, frozen=True):
    """An id in a request, where it stands, and what rule it is under."""

    path: str
    id: str
    rule: Rule


def is_disguised(body: bytes) -> bool:
    """Whether names in the body may be spelt so that a search does not find them."""
    # Most bodies have no escape at all, which a single byte tells soonest.
    return b"\\" in body and b"\\u00" in body and _DISGUISED.search(body) is not None


def named_objects(
    client_format: ClientFormat, body: bytes, fields: Mapping[str, msgspec.Raw]
) -> tuple[NamedObject, ...]:
    """`fields` are those of the body. Raises InvalidRequest where there are too many."""
    table = OBJECT_FIELDS[client_format]
    disguised = is_disguised(body)
    heads = [name for name in table.heads if name in fields]
    names = () if disguised else table.names
    rest: list[str] = []
    if disguised or any(name in body for name in table.coarse):
        rest = [name for name in fields if name not in table.heads and name not in _CLIENTS_OWN]
    if not heads and not rest:
        return ()
    found: list[NamedObject] = []
    for name in heads:
        found += _in_value(table, bytes(fields[name]), name, name)
    for name in rest:
        raw = bytes(fields[name])
        if _may_name(raw, names):
            found += _in_field(table, raw, name, names)
    if len(found) > _MAX_NAMED:
        raise InvalidRequest(
            f"The request names more than {_MAX_NAMED} objects that the provider keeps.",
            param=found[_MAX_NAMED].path,
        )
    return tuple(found)


def brought_objects(client_format: ClientFormat, answer: bytes) -> tuple[str, ...]:
    """Ids of what a call made, of its answer or an event of it; none where that cannot be read."""
    try:
        found = list(_in_value(ANSWER_FIELDS[client_format], answer, "", ""))
    except InvalidRequest:
        return ()
    return tuple(dict.fromkeys(named.id for named in found))


def _may_name(raw: bytes, names: tuple[bytes, ...]) -> bool:
    return not names or any(name in raw for name in names)


def _in_field(
    table: ObjectFields, raw: bytes, name: str, names: tuple[bytes, ...]
) -> Iterator[NamedObject]:
    """Of a conversation, only the messages that name something are parsed."""
    if not raw.startswith(b"["):
        yield from _in_value(table, raw, name, name)
        return
    for place, part in enumerate(_parts.decode(raw)):
        if _may_name(bytes(part), names):
            yield from _in_value(table, bytes(part), name, f"{name}[{place}]")


def _in_value(table: ObjectFields, raw: bytes, name: str, path: str) -> Iterator[NamedObject]:
    """`name` is the member of the body that the value is, or is an element of."""
    value = decoded(raw, path)
    rule = table.rules.get(("", name))
    if rule is not None:
        yield from _ids(value, path, rule)
    waiting = deque([(value, name, path)])
    for nodes, (node, holder, where) in enumerate(_nodes(waiting)):
        if nodes > _MAX_NODES:
            raise InvalidRequest("This part of the request has too many members.", param=path)
        if isinstance(node, list):
            waiting.extend((part, holder, f"{where}[{place}]") for place, part in enumerate(node))
            continue
        for member, inner in node:
            at = f"{where}.{member}"
            found = table.rules.get((holder, member)) or table.rules.get((ANY, member))
            if found is not None and (found.unless is None or not found.unless(node)):
                yield from _ids(inner, at, found)
            if isinstance(inner, list | tuple) and member not in table.opaque:
                waiting.append((inner, member, at))


def _nodes(waiting: deque[tuple[Any, str, str]]) -> Iterator[tuple[list[Any] | Members, str, str]]:
    """Those that hold others, until none wait; whoever looks at one adds what it holds."""
    while waiting:
        node = waiting.popleft()
        if isinstance(node[0], list | tuple):
            yield node


def _ids(value: Any, path: str, rule: Rule) -> Iterator[NamedObject]:
    if isinstance(value, str):
        yield NamedObject(path, value, rule)
    elif isinstance(value, list):
        for place, part in enumerate(value):
            if isinstance(part, str):
                yield NamedObject(f"{path}[{place}]", part, rule)


def decoded(raw: bytes, path: str) -> Any:
    """Objects as tuples of pairs, numbers as floats. Raises InvalidJSON."""
    try:
        return _decode(raw.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidJSON(f"The value cannot be read: {error}.", param=path) from None
