"""Reads Anthropic's errors."""

import re

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.formats.base import ABSENT
from services.gateway.upstream.translation.messages.wire import Error
from services.gateway.upstream.translation.reply import ReportedError

_MESSAGE_CHARS = 4_000
# "messages.3.content.1: ...", "max_tokens: ...".
_NAMED = re.compile(r"([a-z_]+(?:\.[A-Za-z0-9_]+)*): ")
_NO_WORDS = "The provider gave no reason."


class _Body(msgspec.Struct, frozen=True):
    error: msgspec.Raw = ABSENT
    message: str | None = None


class _Details(msgspec.Struct, frozen=True):
    error_code: str | None = None


_body = msgspec.json.Decoder(_Body)
_error = msgspec.json.Decoder(Error)
_details = msgspec.json.Decoder(_Details)
_text = msgspec.json.Decoder(str)


def read_error(status: int, body: bytes) -> ReportedError:
    """Of any body: servers before the provider answer in HTML, and others in their own JSON."""
    try:
        error_body = _body.decode(body)
    except UNREADABLE:
        return _plain(body.decode(errors="replace"), status)
    if error_body.error is not ABSENT:
        return failure_in(error_body.error, status)
    return _plain(error_body.message or body.decode(errors="replace"), status)


def failure_in(error: msgspec.Raw, status: int | None) -> ReportedError:
    """Of what stands under `error`; `status` None where an answer 200 or a stream has it."""
    try:
        wire_error = _error.decode(error)
    except UNREADABLE:
        return _plain(_string(error), status)
    message = (wire_error.message or "").strip()[:_MESSAGE_CHARS]
    match = _NAMED.match(message)
    return ReportedError(
        message=message or _NO_WORDS,
        status=status,
        kind=wire_error.type,
        code=_code(wire_error.details),
        param=match and match[1],
    )


def _code(details: msgspec.Raw) -> str | None:
    """The error's code, if its type does not show it."""
    try:
        return _details.decode(details).error_code
    except UNREADABLE:
        return None


def _string(raw: msgspec.Raw) -> str:
    try:
        return _text.decode(raw)
    except UNREADABLE:
        return bytes(raw).decode(errors="replace")


def _plain(text: str, status: int | None) -> ReportedError:
    return ReportedError(message=text.strip()[:_MESSAGE_CHARS] or _NO_WORDS, status=status)
