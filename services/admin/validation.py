"""Decodes requests into structs and reports every invalid field, not only the first.

A field's rules stand in its type: `Annotated[Decimal, FieldRule(check)]`.
"""

import asyncio
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from libs.common.errors import (
    BodyTooLarge,
    FieldError,
    InvalidJSON,
    RequestTimeout,
    UnsupportedContentCoding,
    UnsupportedMediaType,
    ValidationFailed,
)

S = TypeVar("S", bound=msgspec.Struct)
D = TypeVar("D", date, datetime)

MAX_BODY_BYTES = 1024 * 1024
_MAX_PROBLEMS = 50
_MAX_NESTED = 64
# Where msgspec found the problem inside the field's value, such as ` - at `$[0]``.
_PLACE = re.compile(r" - at `\$(.*)`$")

_A_TIME = "2026-11-24T00:00:00Z"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_UNENCODED = re.compile(r"(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)?) (\d{2}:\d{2})")


class FieldRule(msgspec.Struct, frozen=True):
    """`check(value, now)` returns the problem of a well-typed value, or None."""

    check: Callable[[Any, datetime], str | None]


class NoQuery(msgspec.Struct, frozen=True, kw_only=True):
    """For a request without query parameters."""


async def read_json_body(request: Request[Any], max_bytes: int) -> bytes:
    """The JSON body as it came, empty where there is none. Raises AppError."""
    headers = request.headers
    if "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
        return b""
    return await read_body(request, max_bytes)


def decode_struct(content: bytes, struct_type: type[S], now: datetime) -> S:
    """Decodes a JSON body; a missing one is an empty object. Raises AppError."""
    return _read_json(content or b"{}", struct_type, now)


def read_fields(
    values: Mapping[str, msgspec.Raw], struct_type: type[S], now: datetime, path: str
) -> S:
    """Decodes members of a body that was read; `path` leads to them. Raises ValidationFailed."""
    return _Reader(now, lambda raw, kind: msgspec.json.decode(raw, type=kind)).read(
        values, struct_type, path
    )


def _read_json(body: bytes, struct_type: type[S], now: datetime) -> S:
    try:
        values = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        reader = _Reader(now, lambda raw, kind: msgspec.json.decode(raw, type=kind))
        return reader.read(values, struct_type)
    except msgspec.ValidationError as error:
        raise ValidationFailed([FieldError("body", str(error))]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJSON(f"The body is not valid JSON: {error}") from None


def check_span(
    since: D,
    until: D,
    *,
    longest: timedelta | None = None,
    field: str = "until",
) -> None:
    """`since` is inclusive, `until` exclusive. Raises ValidationFailed."""
    # Not `since + longest`, which may be beyond the calendar.
    span = until - since
    if timedelta(0) < span and (longest is None or span <= longest):
        return
    bound = "" if longest is None else f", by at most {longest.days} days"
    raise ValidationFailed([FieldError(field, f"must be later than since{bound}")])


def decode_query(request: Request[Any], struct_type: type[S], now: datetime) -> S:
    """The query parameters. Raises ValidationFailed."""
    reader = _Reader(now, _of_text)
    values: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name in values:
            reader.problems.append(FieldError(name, "is given more than once"))
        values[name] = text
    return reader.read(values, struct_type)


async def read_body(
    request: Request[Any], max_bytes: int, media_type: str = "application/json"
) -> bytes:
    """Raises AppError."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != media_type:
        raise UnsupportedMediaType(f"Send the body with `content-type: {media_type}`.")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise UnsupportedContentCoding("Send the body uncompressed, without `content-encoding`.")
    too_large = BodyTooLarge(f"The body is larger than {max_bytes} bytes.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large
    body = bytearray()
    timeout_s: float = request.state["body_timeout_s"]
    try:
        async with asyncio.timeout(timeout_s), aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise RequestTimeout(f"The body did not arrive within {timeout_s:g} s.") from None
    return bytes(body)


class _Reader:
    """Reads the fields one by one and collects their problems."""

    def __init__(self, now: datetime, leaf: Callable[[Any, Any], Any]) -> None:
        self.problems: list[FieldError] = []
        self._now = now
        self._leaf = leaf

    def read(self, values: Mapping[str, Any], struct_type: type[S], path: str = "") -> S:
        struct = self._struct(values, struct_type, path)
        if struct is None or self.problems:
            raise ValidationFailed(self.problems[:_MAX_PROBLEMS])
        return struct

    def _struct(self, values: Mapping[str, Any], struct_type: type[S], path: str) -> S | None:
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct_type)}
        self._refuse([name for name in values if name not in fields], list(fields), path)
        decoded: dict[str, Any] = {}
        before = len(self.problems)
        for name, field in fields.items():
            if name in values:
                decoded[field.name] = self._value(values[name], field.type, path + name)
            elif field.required:
                self._problem(path + name, "is required")
        return None if len(self.problems) > before else struct_type(**decoded)

    def _value(self, raw: Any, annotation: Any, path: str) -> Any:
        value = self._decoded(raw, annotation, path)
        if value is None:
            return None
        for rule in _rules_of(annotation):
            message = rule.check(value, self._now)
            if message is not None:
                self._problem(path, message)
                break
        return value

    def _decoded(self, raw: Any, annotation: Any, path: str) -> Any:
        nested = _struct_in(annotation)
        try:
            wants_list = _wants_list(annotation)
            if nested is not None and not wants_list and bytes(raw).startswith(b"{"):
                fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
                return self._struct(fields, nested, f"{path}.")
            if nested is not None and wants_list and bytes(raw).startswith(b"["):
                items = msgspec.json.decode(raw, type=list[msgspec.Raw])
                return self._structs(items, nested, path)
            return self._leaf(_instant(raw) if datetime in _parts(annotation) else raw, annotation)
        except msgspec.ValidationError as error:
            place = _PLACE.search(str(error))
            allowed = _allowed(annotation)
            message = _full_message(_PLACE.sub("", str(error)), annotation, allowed)
            message = f"{message} at `{path}{place[1]}`" if place else message
            self.problems.append(FieldError(path, message, allowed=allowed))
            return None

    def _structs(
        self, items: list[msgspec.Raw], struct_type: type[S], path: str
    ) -> tuple[S | None, ...] | None:
        if len(items) > _MAX_NESTED:
            self._problem(path, f"has more than {_MAX_NESTED} items")
            return None
        before = len(self.problems)
        structs = tuple(
            self._decoded(item, struct_type, f"{path}[{place}]") for place, item in enumerate(items)
        )
        return None if len(self.problems) > before else structs

    def _refuse(self, unknown: Sequence[str], known: Sequence[str], path: str) -> None:
        """The first of the unknown fields lists the known ones."""
        for place, name in enumerate(unknown[:_MAX_PROBLEMS]):
            close = get_close_matches(name[:100], known, n=1)
            message = "is not a known field" + (f": did you mean {close[0]}?" if close else "")
            allowed = () if place else known
            self.problems.append(FieldError(path + name[:100], message, allowed=allowed))

    def _problem(self, field: str, message: str) -> None:
        self.problems.append(FieldError(field, message))


def _of_text(text: str, annotation: Any) -> Any:
    """The value of a parameter. A number is not a time, and `null` is no way to leave one out."""
    numeric = any(kind in _parts(annotation) for kind in (int, float, bool))
    value = msgspec.convert(text, annotation, strict=not numeric)
    if value is None:
        raise msgspec.ValidationError("Expected a value, got `null`: leave the parameter out")
    return value


def _allowed(annotation: Any) -> list[str]:
    """The values of an enumeration."""
    literals = [part for part in _parts(annotation) if typing.get_origin(part) is typing.Literal]
    return [str(value) for literal in literals for value in typing.get_args(literal)]


def _full_message(message: str, annotation: Any, allowed: Sequence[str]) -> str:
    """msgspec's message, with the valid values if it lacks them."""
    if message.startswith("Invalid enum value") and allowed:
        return f"{message}: must be one of {', '.join(allowed)}"
    is_time = datetime in _parts(annotation)
    if message.startswith("Invalid RFC3339") or (is_time and "timezone" in message):
        return f"{message}: must be a time such as {_A_TIME}, or a day such as {_A_TIME[:10]}"
    return message


def _instant(raw: Any) -> Any:
    """A day is its first moment, in UTC; a space was the plus of an offset that nobody encoded."""
    text = raw if isinstance(raw, str) else bytes(raw).decode().strip('"')
    if _DAY.fullmatch(text):
        whole = f"{text}T00:00:00Z"
    elif found := _UNENCODED.fullmatch(text):
        whole = f"{found[1]}+{found[2]}"
    else:
        return raw
    return whole if isinstance(raw, str) else msgspec.Raw(msgspec.json.encode(whole))


def _parts(annotation: Any) -> list[Any]:
    """The annotation and the parts of its unions and tuples."""
    parts = [annotation]
    for part in parts:
        if typing.get_origin(part) is not typing.Literal:
            parts += [arg for arg in typing.get_args(part) if arg is not Ellipsis]
    return parts


def _rules_of(annotation: Any) -> list[FieldRule]:
    return [part for part in _parts(annotation) if isinstance(part, FieldRule)]


def _struct_in(annotation: Any) -> type[msgspec.Struct] | None:
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, msgspec.Struct) and part is not FieldRule:
            return part
    return None


def _wants_list(annotation: Any) -> bool:
    return any(typing.get_origin(part) is tuple for part in _parts(annotation))
