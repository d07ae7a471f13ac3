"""Finds the changes that a declared object makes to the stored one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from gatewayctl.state.fields import REQUIRED, FieldShape
from gatewayctl.values import Row

Differences = dict[str, tuple[Any, Any]]


def differences_of(
    declared: Row, stored: Row, shape: FieldShape, *, whole: bool = False
) -> Differences:
    """By field: the stored value, and the declared one.

    A field that is not declared stays as it is; with `whole` it is declared to have its default.
    Elements of lists are always whole.
    """
    differences: Differences = {}
    for name, default in shape.own.items():
        if name not in declared and (not whole or default is REQUIRED):
            continue
        value, stored_value = declared.get(name, default), stored.get(name)
        if not _is_same(value, stored_value, name, shape):
            differences[name] = (stored_value, value)
    return differences


def _is_same(value: Any, stored_value: Any, name: str, shape: FieldShape) -> bool:
    if name in shape.items and isinstance(value, list) and isinstance(stored_value, list):
        item_shape = shape.items[name]
        return len(value) == len(stored_value) and all(
            not differences_of(item, stored_item, item_shape, whole=True)
            for item, stored_item in zip(value, stored_value, strict=True)
        )
    if name in shape.objects and isinstance(value, Mapping):
        return not differences_of(dict(value), dict(stored_value or {}), shape.objects[name])
    if isinstance(value, Mapping) and isinstance(stored_value, Mapping) and name == "metadata":
        return all(stored_value.get(key) == text for key, text in value.items())
    return equal(value, stored_value)


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
