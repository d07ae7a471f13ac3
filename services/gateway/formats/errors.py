"""How the error tree is written in OpenAI's and in Anthropic's shape."""

import msgspec

from libs.common.errors import AppError, BudgetExceeded
from services.gateway.formats.base import ErrorAnswer

_encode = msgspec.json.encode

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
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


def openai_error(error: AppError) -> dict[str, str | None]:
    """The object under `error`."""
    if isinstance(error, BudgetExceeded):
        kind = code = "insufficient_quota"
    else:
        fallback = "api_error" if error.status >= _SERVER_ERROR else "invalid_request_error"
        kind, code = _OPENAI_TYPES.get(error.status, fallback), error.code
    return {"message": error.message, "type": kind, "param": error.param, "code": code}


def openai_answer(error: AppError) -> ErrorAnswer:
    """OpenAI has no 402: its clients know an exhausted budget as 429 `insufficient_quota`."""
    status = _TOO_MANY_REQUESTS if isinstance(error, BudgetExceeded) else error.status
    return ErrorAnswer(status=status, body=_encode({"error": openai_error(error)}))


def anthropic_answer(error: AppError, request_id: str) -> ErrorAnswer:
    """The same body serves an answer and a stream's `error` event."""
    fallback = "api_error" if error.status >= _SERVER_ERROR else "invalid_request_error"
    kind = _ANTHROPIC_TYPES.get(error.status, fallback)
    body = {
        "type": "error",
        "error": {"type": kind, "message": error.message},
        "request_id": request_id,
    }
    return ErrorAnswer(status=error.status, body=_encode(body))
