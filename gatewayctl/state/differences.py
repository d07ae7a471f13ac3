"""Finds the changes that a declared object makes to the stored one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from gatewayctl.state.fields import REQUIRED, FieldShape
from gatewayctl.values import Row

Differences = dict[str, tuple[Any, Any]]


def differences_of(
    declared: Row, there: Row, shape: FieldShape, *, whole: bool = False
) -> Differences:
    """By field: the stored value, and the declared one.

    A field that is not declared stays as it is; with `whole` it is declared to have its default.
    Elements of lists are always whole.
    """
    found: Differences = {}
    for name, default in shape.own.items():
        if name not in declared and (not whole or default is REQUIRED):
            continue
        wanted, present = declared.get(name, default), there.get(name)
        if not _same(wanted, present, name, shape):
            found[name] = (present, wanted)
    return found


def _same(wanted: Any, present: Any, name: str, shape: FieldShape) -> bool:
    if name in shape.items and isinstance(wanted, list) and isinstance(present, list):
        inner = shape.items[name]
        return len(wanted) == len(present) and all(
            not differences_of(mine, theirs, inner, whole=True)
            for mine, theirs in zip(wanted, present, strict=True)
        )
    if name in shape.objects and isinstance(wanted, Mapping):
        return not differences_of(dict(wanted), dict(present or {}), shape.objects[name])
    if isinstance(wanted, Mapping) and isinstance(present, Mapping) and name == "metadata":
        return all(present.get(key) == text for key, text in wanted.items())
    return equal(wanted, present)


def equal(one: Any, other: Any) -> bool:
    """Numbers by their value, times by their moment, nothing as an empty list or object."""
    if one in (None, [], {}) and other in (None, [], {}):
        return True
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, Decimal)) and isinstance(other, (int, Decimal)):
        return one == other
    if isinstance(one, str) and isinstance(other, str):
        return one == other or (_time(one) is not None and _time(one) == _time(other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = one.keys() | other.keys()
        return all(equal(one.get(name), other.get(name)) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    # Stored to the millisecond.
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)
