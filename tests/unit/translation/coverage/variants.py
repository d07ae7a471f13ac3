"""Every member of an SDK's types, one at a time: a value with it, beside one without it."""

import collections.abc
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, NotRequired, Required

from typing_extensions import get_type_hints, is_typeddict

ABSENT: Any = object()
_LISTS = (list, tuple, collections.abc.Iterable, collections.abc.Sequence)
_DICTS = (dict, collections.abc.Mapping)
_MAX_DEPTH = 5
# By the member's name, where any text would not do.
_TEXTS = {
    "data": "aGVsbG8=",
    "image_url": "https://example.com/a.png",
    "url": "https://example.com/a.png",
    "file_data": "data:application/pdf;base64,aGVsbG8=",
    "arguments": '{"a":1}',
    "call_id": "c1",
    "tool_call_id": "c1",
    "tool_use_id": "c1",
}


class Variant(NamedTuple):
    """`path` is what `new` has and `old` has not; `old` may be ABSENT."""

    path: str
    old: Any
    new: Any


def variants(annotation: Any, name: str = "", depth: int = 0) -> Iterator[Variant]:
    """The first is the least value of the type."""
    annotation, origin = _bare(annotation)
    if origin in (typing.Union, types.UnionType):
        for kind in typing.get_args(annotation):
            if kind is not type(None):
                yield from variants(kind, name, depth)
    elif is_typeddict(annotation):
        yield from _dict_variants(annotation, depth)
    elif _is_list(origin):
        for path, old, new in variants(typing.get_args(annotation)[0], name, depth):
            yield Variant(f"[]{path}", ABSENT if old is ABSENT else [old], [new])
    else:
        for value in _values(annotation, origin, name):
            is_chosen = origin is Literal or annotation is bool
            yield Variant(f"={value}" if is_chosen else "", ABSENT, value)


def least(annotation: Any, name: str = "", depth: int = 0) -> Any:
    return next(variants(annotation, name, depth)).new


def kinds(annotation: Any) -> Iterator[Any]:
    """The TypedDicts of a union."""
    annotation, origin = _bare(annotation)
    if origin in (typing.Union, types.UnionType):
        for kind in typing.get_args(annotation):
            yield from kinds(kind)
    elif is_typeddict(annotation):
        yield annotation


def _dict_variants(annotation: Any, depth: int) -> Iterator[Variant]:
    hints = get_type_hints(annotation, include_extras=True)
    needed = _needed(annotation, hints)
    base = {name: least(hints[name], name, depth + 1) for name in hints if name in needed}
    kind = base.get("type") or base.get("role")
    label = f"<{kind}>" if isinstance(kind, str) else ""
    yield Variant(label, ABSENT, base)
    if depth >= _MAX_DEPTH:
        return
    for name, hint in hints.items():
        found = variants(hint, name, depth + 1)
        if name in needed:
            next(found)
        for path, old, new in found:
            without = {key: value for key, value in base.items() if key != name}
            before = without if old is ABSENT else without | {name: old}
            if name in needed and old is ABSENT:
                before = base
            yield Variant(f"{label}.{name}{path}", before, without | {name: new})


def _needed(annotation: Any, hints: dict[str, Any]) -> set[str]:
    """`__required_keys__` is wrong where a module's annotations are strings."""
    needed: set[str] = set()
    for name, hint in hints.items():
        origin = typing.get_origin(hint)
        if origin is Required or (origin is not NotRequired and _is_total(annotation, name)):
            needed.add(name)
    return needed


def _is_total(annotation: Any, name: str) -> bool:
    """Whether the class that has the member has all of them."""
    for base in getattr(annotation, "__orig_bases__", ()):
        if is_typeddict(base) and name in get_type_hints(base):
            return _is_total(base, name)
    return bool(annotation.__total__)


def _bare(annotation: Any) -> tuple[Any, Any]:
    origin = typing.get_origin(annotation)
    while origin in (Required, NotRequired, typing.Annotated):
        annotation = typing.get_args(annotation)[0]
        origin = typing.get_origin(annotation)
    return annotation, origin


def _is_list(origin: Any) -> bool:
    return origin in _LISTS or getattr(origin, "__name__", "") == "SequenceNotStr"


def _values(annotation: Any, origin: Any, name: str) -> list[Any]:
    if origin is Literal:
        return list(typing.get_args(annotation))
    if origin in _DICTS or annotation in (dict, object, Any):
        return [{"a": {"type": "string"}}]
    if annotation is bool:
        return [True, False]
    if annotation is int:
        return [7]
    if annotation is float:
        return [0.5]
    if annotation is str:
        return [_TEXTS.get(name, f"some {name}".replace("_", " "))]
    return []
