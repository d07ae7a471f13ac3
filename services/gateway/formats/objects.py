"""Finds the objects that a request names and the ones that an answer brought, by `object_fields`.

Nothing is parsed where the bytes have none of the names; where they have, all members count, those
of a name that comes twice included, since which of them a provider takes is not known.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from libs.common.errors import InvalidJSON, InvalidRequest
from libs.common.schemas.usage import ClientFormat
from services.gateway.formats.object_fields import (
    ANSWER_FIELDS,
    ANY,
    OBJECT_FIELDS,
    OPAQUE,
    ObjectFields,
    ObjectRule,
)
from services.gateway.formats.plain_members import PLAIN_MEMBERS

# Small letters, an underscore or a 1 as escapes: no encoder writes them so, but somebody who wants
# a name to be overlooked may. A text that speaks of escapes has two backslashes, which is none.
_DISGUISED = re.compile(
    # The search is fast since it begins with a text; so what comes before is looked at last.
    rb"\\u00(?:31|5[fF]|6[1-9a-fA-F]|7[0-9aA])(?<![^\\]\\\\u00..)"
)
# Of the body itself; `input` is what Responses calls the conversation.
_CLIENTS_OWN = OPAQUE - {"input"}
_MAX_NAMED = 256
# Objects and lists that are gone through for one body.
_MAX_NODES = 500_000
# Of a list that has to be looked through; the longest conversations have some thousands.
_MAX_PARTS = 50_000
_MAX_COMMAS = 40 * _MAX_PARTS
# What is decoded takes up to fifty times its bytes, and as long as that takes nobody else has a
# turn. So what may be values is counted before: each but the first follows one of these bytes.
_BEFORE_VALUES = (b",", b"[", b"{")
_MAX_VALUES = 500_000

_parts = msgspec.json.Decoder(list[msgspec.Raw])
# Objects as tuples of pairs; numbers name nothing, and a long one must not be computed.
_decode = json.JSONDecoder(object_pairs_hook=tuple, parse_int=float).decode


class NamedObject(msgspec.Struct, frozen=True):
    """An id in a request, where it stands, and what rule it is under."""

    path: str
    id: str
    rule: ObjectRule


def is_disguised(body: bytes) -> bool:
    """Whether names in the body may be written so that a plain search misses them."""
    # Most bodies have no escape at all, which a single byte tells soonest. The expression looks for
    # that byte first, too, and so is faster than a search for four.
    return b"\\" in body and _DISGUISED.search(body) is not None


def named_objects(
    client_format: ClientFormat,
    body: bytes,
    fields: Mapping[str, msgspec.Raw],
    *,
    disguised: bool,
) -> tuple[NamedObject, ...]:
    """`fields` are those of the body. Raises InvalidRequest where there are too many."""
    table = OBJECT_FIELDS[client_format]
    heads, elsewhere = table.heads, disguised or _has_any(body, table.coarse)
    if not elsewhere and (
        fields.keys() <= PLAIN_MEMBERS
        or (heads.isdisjoint(fields) and all(map(str.islower, fields)))
    ):
        # Nearly every body ends here, so this check has few steps.
        return ()
    search = _ObjectSearch(table, everywhere=disguised)
    found = search.found
    for name, raw in fields.items():
        if (member := _folded(name)) in heads:
            search.value(bytes(raw), member, name)
    if elsewhere:
        for name, raw in fields.items():
            if _folded(name) not in heads and name not in _CLIENTS_OWN:
                search.field(bytes(raw), name)
    if not found:
        return ()
    if len(found) > _MAX_NAMED:
        raise InvalidRequest(
            f"The request names more than {_MAX_NAMED} objects that the provider keeps.",
            param=found[_MAX_NAMED].path,
        )
    return tuple(found)


def brought_objects(client_format: ClientFormat, answer: bytes) -> tuple[str, ...]:
    """Ids of objects in an answer or an event; empty if it is unreadable."""
    search = _ObjectSearch(ANSWER_FIELDS[client_format])
    try:
        search.value(answer, "", "")
    except InvalidRequest:
        return ()
    return tuple(dict.fromkeys(each.id for each in search.found))


def _folded(name: str) -> str:
    """Some servers read names in any case."""
    return name if name.islower() else name.lower()


def _has_any(raw: bytes, names: Iterable[bytes]) -> bool:
    # A loop, since a generator costs more than the searches in a small body.
    for name in names:  # noqa: SIM110
        if name in raw:
            return True
    return False


class _ObjectSearch:
    """Through one body, or one answer: what it has `found`, and how much it has looked at."""

    __slots__ = ("_everywhere", "_nodes", "found", "table")

    def __init__(self, table: ObjectFields, *, everywhere: bool = False) -> None:
        self.table = table
        self.found: list[NamedObject] = []
        self._everywhere = everywhere
        self._nodes = 0

    def field(self, raw: bytes, name: str) -> None:
        """Of a conversation, only the messages that name something are parsed."""
        # One pass, however many names there are to look for.
        names = () if self._everywhere else set(self.table.named_in(raw))
        if not names and not self._everywhere:
            return
        if not raw.startswith(b"["):
            self.value(raw, name, name)
            return
        for path, part in list_elements(raw, name):
            if self._everywhere or _has_any(part, names):
                self.value(part, name, path)

    def value(self, raw: bytes, name: str, path: str) -> None:
        """`name` is the member of the body that the value is, or is an element of."""
        value, table, rules = decoded_pairs(raw, path), self.table, self.table.rules
        rule = rules.get(("", name))
        if rule is not None:
            self.found += _ids(value, path, rule)
        # It grows while it is gone through: what an object or a list holds comes after it.
        waiting: list[tuple[Any, str, str]] = [(value, name, path)]
        for node, holder, where in waiting:
            self._nodes += 1
            if self._nodes > _MAX_NODES:
                raise InvalidRequest("This part of the request has too many members.", param=path)
            if isinstance(node, list):
                waiting += [
                    (part, holder, f"{where}[{place}]")
                    for place, part in enumerate(node)
                    if isinstance(part, list | tuple)
                ]
            elif isinstance(node, tuple) and not (table.foreign and table.is_foreign(node)):
                for raw_name, inner in node:
                    member = _folded(raw_name)
                    if member in table.members:
                        rule = rules.get((holder, member)) or rules.get((ANY, member))
                        if rule is not None and not (rule.unless and rule.unless(node)):
                            self.found += _ids(inner, f"{where}.{raw_name}", rule)
                    if isinstance(inner, list | tuple) and member not in table.opaque:
                        waiting.append((inner, member, f"{where}.{raw_name}"))


def _ids(value: Any, path: str, rule: ObjectRule) -> list[NamedObject]:
    if isinstance(value, str):
        return [NamedObject(path, value, rule)]
    if not isinstance(value, list):
        return []
    parts = enumerate(value)
    return [NamedObject(f"{path}[{n}]", part, rule) for n, part in parts if isinstance(part, str)]


def decoded_pairs(raw: bytes, path: str) -> Any:
    """Objects as tuples of pairs, numbers as floats. Raises InvalidJSON, or InvalidRequest where
    there are too many."""
    if len(raw) > _MAX_VALUES and sum(map(raw.count, _BEFORE_VALUES)) > _MAX_VALUES:
        raise InvalidRequest("This part of the request has too many members.", param=path)
    try:
        return _decode(raw.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidJSON(f"The value cannot be read: {error}.", param=path) from None


def list_elements(raw: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """A list's elements, each with its path. Raises InvalidRequest where there are too many."""
    # The elements' own commas count as well, so there may be some for each.
    is_too_long = len(raw) > _MAX_COMMAS and raw.count(b",") > _MAX_COMMAS
    parts = [] if is_too_long else _parts.decode(raw)
    if is_too_long or len(parts) > _MAX_PARTS:
        raise InvalidRequest(f"This list has more than {_MAX_PARTS} elements.", param=name)
    for place, part in enumerate(parts):
        yield f"{name}[{place}]", bytes(part)
