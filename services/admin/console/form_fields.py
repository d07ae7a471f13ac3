"""The fields of a form: their typed text, and the JSON body that it stands for."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from libs.common.decode_errors import UNREADABLE

# Whole numbers, with commas between thousands only: `1,5` is none.
_NUMBER = re.compile(r"\d{1,15}|\d{1,3}(,\d{3}){1,4}", re.ASCII)
_DECIMAL = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)

# `decimal` is a number with a point; `amount` is money, sent as text to stay exact.
FieldKind = Literal[
    "text", "number", "decimal", "amount", "time", "choice", "many", "list", "long", "json", "flag"
]
Typed = Mapping[str, str]


class FormField(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is the body's member that it means, as errors name it: `limits.requests_per_minute`.

    A `list` is one item a line; `many` are some of the choices; a `choice` without a value among
    `choices` is left out.
    """

    path: str
    label: str
    kind: FieldKind = "text"
    help: str = ""
    choices: Sequence[str] = ()
    required: bool = False
    # The meaning of an empty field: a value such as null, or an absent member.
    empty: Any = UNSET


class FieldGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of one thing among several; those of `rare` are folded in until they are wanted."""

    name: str
    fields: Sequence[FormField]
    rare: Sequence[FormField] = ()


def form_body(fields: Sequence[FormField], typed: Typed) -> dict[str, Any]:
    """The JSON body, nested by the paths. A malformed number stays text, which the API refuses."""
    body: dict[str, Any] = {}
    for field in fields:
        value = _value(field, typed.get(field.path, "").strip())
        if value is UNSET:
            continue
        *parents, last = field.path.split(".")
        inner = body
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return body


def _value(field: FormField, text: str) -> Any:
    if field.kind == "flag":
        return bool(text)
    if not text:
        return field.empty
    match field.kind:
        case "number":
            return int(text.replace(",", "")) if _NUMBER.fullmatch(text) else text
        case "decimal":
            return msgspec.Raw(text.encode()) if _DECIMAL.fullmatch(text) else text
        case "list" | "many":
            return [line.strip() for line in text.splitlines() if line.strip()]
        case "json":
            return _json(text)
        case _:
            return text


def _json(text: str) -> msgspec.Raw | str:
    try:
        raw = msgspec.Raw(text.encode())
        msgspec.json.decode(raw)
    except UNREADABLE:
        return text
    return raw


def typed_of(values: Mapping[str, Any]) -> dict[str, str]:
    """The text of fields for stored values."""
    return {name: _text_of(value) for name, value in values.items()}


def _text_of(value: Any) -> str:
    """The text that one would type: never with an exponent, which no field accepts."""
    match value:
        case None | False:
            return ""
        case True:
            return "yes"
        case tuple():
            return "\n".join(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case Decimal():
            return f"{value:f}"
        case float():
            return f"{value:.9f}".rstrip("0").rstrip(".")
        case _:
            return str(value)
