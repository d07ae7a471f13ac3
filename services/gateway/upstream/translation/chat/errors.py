"""Reads the errors of servers that speak chat, each of which has a shape of its own."""

from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.reply import ReportedError

_MAX_CHARS = 4096
_MAX_READ_BYTES = 64 * 1024
_SILENT = "The provider gave no reason."
# A finish reason of Mistral's and OpenRouter's, who may say no more than that.
ERRED = "error"
ENDED_IN_ERROR = ReportedError(message="The provider ended its answer with an error.")
_FIRST_STATUS = 400
_LAST_STATUS = 599


def read_error(status: int, body: bytes) -> ReportedError:
    """Of an answer that is not a 2xx."""
    failure = _of_json(body)
    if failure is None:
        text = body[:_MAX_READ_BYTES].decode(errors="replace").strip()
        # A page of some proxy is for people's browsers.
        is_page = text[:1] == "<"
        failure = ReportedError(message=_SILENT if is_page or not text else text[:_MAX_CHARS])
    return msgspec.structs.replace(failure, status=status)


def failure_in(raw: msgspec.Raw | bytes) -> ReportedError:
    """Of the error object within an answer 200, or a stream."""
    return _of_json(raw) or ReportedError(message=_SILENT)


def _of_json(raw: msgspec.Raw | bytes) -> ReportedError | None:
    try:
        error: Any = msgspec.json.decode(raw)
    except UNREADABLE:
        return None
    # Gemini wraps its errors into a list.
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, dict):
        inner = error.get("error", error.get("detail"))
        if isinstance(inner, str | dict | list):
            outer, error = error, inner
            if isinstance(error, str | list):
                return _failure(outer, _text(error))
    if isinstance(error, str):
        return _failure({}, error)
    if not isinstance(error, dict):
        return None
    message = error.get("message") or error.get("msg") or error.get("error_msg")
    return _failure(error, _text(message))


def _failure(error: dict[str, Any], message: str) -> ReportedError:
    code = error.get("code")
    status = code if type(code) is int and _FIRST_STATUS <= code <= _LAST_STATUS else None
    return ReportedError(
        message=message[:_MAX_CHARS] or _SILENT,
        status=status,
        # Google's `status` is a word, such as INVALID_ARGUMENT.
        kind=_word(error.get("type")) or _word(error.get("status")),
        code=_word(code),
        param=_word(error.get("param")),
    )


def _text(value: Any) -> str:
    """FastAPI's are lists of what is wrong with each field."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def _word(value: Any) -> str | None:
    return value[:_MAX_CHARS] if isinstance(value, str) and value else None
