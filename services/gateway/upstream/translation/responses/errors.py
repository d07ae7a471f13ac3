"""Reads the errors of a provider that speaks Responses."""

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.reply import ReportedError
from services.gateway.upstream.translation.responses.answer_reader import (
    WireError,
    response_failure,
)

# Some gateways in front of a server say it so, and a page may be long.
_MAX_WORDS = 500


class _Body(msgspec.Struct, frozen=True):
    """`detail` and `message` at the top: of servers that only nearly speak the format."""

    error: WireError | str | None = None
    message: str | None = None
    detail: str | None = None
    code: str | int | None = None


_body = msgspec.json.Decoder(_Body)


def read_error(status: int, body: bytes) -> ReportedError:
    """Of an answer that is not a 2xx; any body, JSON or not."""
    try:
        error_body = _body.decode(body)
    except UNREADABLE:
        return ReportedError(message=_words(status, body), status=status)
    if error_body.error is not None:
        return msgspec.structs.replace(response_failure(error_body.error), status=status)
    message = error_body.message or error_body.detail or _words(status, b"")
    code = None if error_body.code is None else str(error_body.code)
    return ReportedError(message=message, status=status, code=code)


def _words(status: int, body: bytes) -> str:
    words = body[: 4 * _MAX_WORDS].decode(errors="replace").strip()[:_MAX_WORDS]
    return words or f"The provider answered with status {status} and gave no reason."
