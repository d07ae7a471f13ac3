"""Values of PostgreSQL's columns: from a dump they are text, from the database Python's own."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from gatewayctl.migration.conversions import number
from gatewayctl.values import Row

SourceKind = Literal["text", "number", "flag", "time", "list", "json"]

_TRUE = {"t", "true", "1"}
_FALSE = {"f", "false", "0"}


def typed_row(row: Mapping[str, Any], kinds: Mapping[str, SourceKind]) -> Row:
    """An unreadable value stays unchanged, for a rule to refuse."""
    return {
        name: None if value is None else _parse(value, kinds.get(name, "text"))
        for name, value in row.items()
    }


def _parse(value: Any, kind: SourceKind) -> Any:
    if isinstance(value, datetime):
        return _utc(value)
    if not isinstance(value, str):
        if kind != "text":
            return value
        return None if value in ([], {}) else str(value)
    match kind:
        case "flag":
            word = value.lower()
            return True if word in _TRUE else False if word in _FALSE else value
        case "time":
            return _time(value)
        case "list":
            return array_of(value)
        case "json":
            return _json(value)
        case "number":
            decimal = number(value)
            return value if decimal is None else decimal
        case _:
            return value


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return text


def _time(text: str) -> datetime | str:
    """PostgreSQL writes `2026-01-02 03:04:05.678`, in UTC here, or `+00` after it."""
    iso_text = text + ":00" if text[-3:-2] in "+-" and text[-2:].isdecimal() else text
    try:
        return _utc(datetime.fromisoformat(iso_text))
    except (ValueError, OverflowError):
        return text


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def array_of(text: str) -> list[str] | str:
    """Of `{a,"b, c"}`; the text itself where it is not an array of one level."""
    if not (text.startswith("{") and text.endswith("}")):
        return text
    items: list[str] = []
    item, quoted, was_quoted, escaped = "", False, False, False
    for char in text[1:-1] + ",":
        if escaped:
            item, escaped = item + char, False
        elif char == "\\":
            escaped = True
        elif char == '"':
            quoted, was_quoted = not quoted, True
        elif char == "," and not quoted:
            if item or was_quoted:
                items.append(item)
            item, was_quoted = "", False
        else:
            item += char
    return text if quoted or escaped else items


def names(value: Any) -> Sequence[str] | None:
    """The texts of a list, none where there is no value; None for what is no list of texts."""
    if value is None:
        return ()
    texts = isinstance(value, list) and all(isinstance(each, str) for each in value)
    return value if texts else None
