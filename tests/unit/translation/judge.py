"""Judges what is sent upstream by the types of an SDK's parameters, all the way down.

Pydantic looks into iterables only when they are read, and lets unknown members of TypedDicts pass.
"""

import collections.abc
import types
import typing
from functools import cache
from typing import Any, Literal, NotRequired, Required

from typing_extensions import get_type_hints, is_typeddict

_LISTS = (list, tuple, collections.abc.Iterable, collections.abc.Sequence)
_DICTS = (dict, collections.abc.Mapping)


def faults(value: Any, annotation: Any, path: str = "$") -> list[str]:
    """Of a value that came out of JSON; none where it is of the type."""
    if annotation in (Any, object):
        return []
    origin = typing.get_origin(annotation)
    if origin in (Required, NotRequired, typing.Annotated):
        return faults(value, typing.get_args(annotation)[0], path)
    if origin in (typing.Union, types.UnionType):
        return _union_faults(value, typing.get_args(annotation), path)
    if is_typeddict(annotation):
        return _dict_faults(value, annotation, path)
    if origin is Literal:
        allowed = typing.get_args(annotation)
        return [] if value in allowed else [f"{path}: {value!r} is none of {allowed}"]
    if origin in _LISTS or getattr(origin, "__name__", "") == "SequenceNotStr":
        inner = typing.get_args(annotation)[0]
        if not isinstance(value, list):
            return [f"{path}: {value!r} is not a list"]
        return [f for n, each in enumerate(value) for f in faults(each, inner, f"{path}[{n}]")]
    if origin in _DICTS:
        inner = typing.get_args(annotation)[1]
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is not an object"]
        return [f for name, each in value.items() for f in faults(each, inner, f"{path}.{name}")]
    expected = type(None) if annotation is None else annotation
    fits = type(value) is expected or (expected is float and type(value) is int)
    return [] if fits else [f"{path}: {value!r} is no {expected.__name__}"]


def _union_faults(value: Any, kinds: tuple[Any, ...], path: str) -> list[str]:
    """The faults that the nearest of them finds."""
    found = [faults(value, kind, path) for kind in kinds]
    return min(found, key=len)


def _dict_faults(value: Any, annotation: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is not an object"]
    hints = _hints(annotation)
    missing = [f"{path}.{name}: missing" for name in _needed(annotation) - value.keys()]
    unknown = [f"{path}.{name}: unknown" for name in value.keys() - hints.keys()]
    wrong = [
        fault
        for name, each in value.items()
        if name in hints
        for fault in faults(each, hints[name], f"{path}.{name}")
    ]
    return missing + unknown + wrong


@cache
def _hints(annotation: Any) -> dict[str, Any]:
    return get_type_hints(annotation, include_extras=True)


@cache
def _needed(annotation: Any) -> frozenset[str]:
    """`__required_keys__` is wrong where a module's annotations are strings."""
    bases = [base for base in getattr(annotation, "__orig_bases__", ()) if is_typeddict(base)]
    inherited = {name for base in bases for name in _hints(base)}
    own = frozenset(
        name
        for name, hint in _hints(annotation).items()
        if name not in inherited and _is_needed(typing.get_origin(hint), annotation)
    )
    return own.union(*(_needed(base) for base in bases))


def _is_needed(origin: Any, annotation: Any) -> bool:
    return origin is Required or (annotation.__total__ and origin is not NotRequired)
