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
        said: Any = msgspec.json.decode(raw)
    except UNREADABLE:
        return None
    # Gemini wraps its errors into a list.
    if isinstance(said, list) and said:
        said = said[0]
    if isinstance(said, dict):
        inner = said.get("error", said.get("detail"))
        if isinstance(inner, str | dict | list):
            outer, said = said, inner
            if isinstance(said, str | list):
                return _failure(outer, _text(said))
    if isinstance(said, str):
        return _failure({}, said)
    if not isinstance(said, dict):
        return None
    message = said.get("message") or said.get("msg") or said.get("error_msg")
    return _failure(said, _text(message))


def _failure(said: dict[str, Any], message: str) -> ReportedError:
    code = said.get("code")
    status = code if type(code) is int and _FIRST_STATUS <= code <= _LAST_STATUS else None
    return ReportedError(
        message=message[:_MAX_CHARS] or _SILENT,
        status=status,
        # Google's `status` is a word, such as INVALID_ARGUMENT.
        kind=_word(said.get("type")) or _word(said.get("status")),
        code=_word(code),
        param=_word(said.get("param")),
    )


def _text(said: Any) -> str:
    """FastAPI's are lists of what is wrong with each field."""
    if isinstance(said, str):
        return said
    return "" if said is None else msgspec.json.encode(said).decode()


def _word(value: Any) -> str | None:
    return value[:_MAX_CHARS] if isinstance(value, str) and value else None
