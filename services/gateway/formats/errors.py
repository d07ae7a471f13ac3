"""Writes the error tree in OpenAI's and in Anthropic's shape."""

import re

import msgspec

from libs.common.errors import (
    AppError,
    BudgetExceeded,
    ObjectNotAllowed,
    QuotaExhausted,
    ThreadNotFound,
)
from services.gateway.formats.base import ErrorAnswer

_encode = msgspec.json.encode

# OpenAI's clients know no 402, and send a whole prompt six times over a 413 or 422.
OPENAI_UNKNOWN_STATUSES = frozenset({402, 413, 422})
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_LIMIT_WORDS = re.compile(
    r"prompt is too long|input length and `?max_tokens`? exceed context limit", re.IGNORECASE
)
_OVERLOADED = 529
_BAD_REQUEST = 400
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


def openai_error(error: AppError) -> dict[str, str | None]:
    """The object under `error`."""
    if isinstance(error, BudgetExceeded | QuotaExhausted):
        kind = code = "insufficient_quota"
    else:
        status = _openai_status(error)
        fallback = "api_error" if status >= _SERVER_ERROR else "invalid_request_error"
        kind, code = _OPENAI_TYPES.get(status, fallback), error.code
    return {"message": error.message, "type": kind, "param": error.param, "code": code}


def openai_answer(error: AppError) -> ErrorAnswer:
    return ErrorAnswer(status=_openai_status(error), body=_encode({"error": openai_error(error)}))


def _openai_status(error: AppError) -> int:
    """OpenAI has no 402: its clients know an exhausted budget as 429 `insufficient_quota`.

    One of its clients repeats the whole prompt six times after a 403, but not after a 400.
    """
    if isinstance(error, BudgetExceeded | QuotaExhausted):
        return _TOO_MANY_REQUESTS
    return _BAD_REQUEST if isinstance(error, ObjectNotAllowed) else error.status


def anthropic_error(error: AppError) -> dict[str, object]:
    """The object under `error`."""
    status = _anthropic_status(error)
    fallback = "api_error" if status >= _SERVER_ERROR else "invalid_request_error"
    kind = _ANTHROPIC_TYPES.get(status, fallback)
    fields: dict[str, object] = {"type": kind, "message": _anthropic_message(error)}
    details = _thread_details(error)
    if details is not None:
        fields["details"] = details
    return fields


def anthropic_answer(error: AppError, request_id: str) -> ErrorAnswer:
    """The same body serves an answer and a stream's `error` event."""
    body = {"type": "error", "error": anthropic_error(error), "request_id": request_id}
    return ErrorAnswer(status=_anthropic_status(error), body=_encode(body))


def _anthropic_status(error: AppError) -> int:
    return _OVERLOADED if error.code == "overloaded" else error.status


def _anthropic_message(error: AppError) -> str:
    """Claude Code shortens a conversation only if it finds these words, in any case."""
    message = _with_param(error)
    if error.code != "context_length_exceeded" or _LIMIT_WORDS.search(message):
        return message
    return f"prompt is too long: {message}"


def _with_param(error: AppError) -> str:
    """Anthropic's errors have no `param`, so the message itself says which field is meant."""
    param, message = error.param, error.message
    if param is None or re.search(rf"(?<!\w){re.escape(param)}(?!\w)", message):
        return message
    return f"{param}: {message}"


def _thread_details(error: AppError) -> dict[str, object] | None:
    """The details by which SDKs resend a thread's whole history, or continue without a thread."""
    if isinstance(error, ThreadNotFound):
        return {"error_code": "thread_not_found"}
    if error.code == "unsupported_field" and error.message.startswith("thread: "):
        return {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    return None
