"""Translates a provider's error for a client of another format."""

import re
from math import ceil

from libs.common.errors import (
    AppError,
    QuotaExhausted,
    RateLimited,
    UpstreamFailed,
    UpstreamRefused,
)
from services.gateway.upstream.translation.reply import ReportedError
from services.gateway.upstream.verdict import says_too_long

_NO_CREDIT = re.compile(
    rb"insufficient_quota|billing_error|credit balance|exceeded your current quota", re.IGNORECASE
)
_SEARCHED_BYTES = 16_384
_OVERLOADED = re.compile(r"overloaded|engine_overloaded|server_overloaded", re.IGNORECASE)
_BAD_REQUEST = 400
_PAYMENT_REQUIRED = 402
_TOO_MANY_REQUESTS = 429
_UNAVAILABLE = frozenset({503, 529})
_FIRST_ERROR_STATUS = 400
_SERVER_ERROR = 500
# By the words that stand in for a status, where an error comes within an answer 200.
_STATUSES = {
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "overloaded_error": 529,
    "timeout_error": 504,
    "vector_store_timeout": 504,
}
TOO_LONG = "context_length_exceeded"


def error_of(
    failure: ReportedError, pause_s: float | None = None, param: str | None = None
) -> AppError:
    """The provider's own words, under the code that the client's family has for the case.

    `pause_s` is how long its answer's headers ask to be left alone, `param` the client's field that
    it is about.
    """
    status = failure_status(failure)
    words = f"{failure.code or ''} {failure.kind or ''} {failure.message}"
    if says_too_long(words.encode()):
        return UpstreamRefused(
            failure.message, status=_BAD_REQUEST, code=TOO_LONG, retry_after_s=None
        )
    if status == _PAYMENT_REQUIRED or is_out_of_credit(words.encode()):
        return QuotaExhausted(failure.message)
    code = failure.code or failure.kind
    retry_after_s = None if pause_s is None else ceil(pause_s)
    message = failure.message
    if status == _TOO_MANY_REQUESTS:
        code = RateLimited.code
        if retry_after_s is not None and "try again in" not in message.lower():
            # Codex reads the time here.
            message = f"{message} Please try again in {retry_after_s}s."
    if status in _UNAVAILABLE or (status >= _SERVER_ERROR and _OVERLOADED.search(words)):
        code = "overloaded"
    return UpstreamRefused(
        message, status=status, code=code, retry_after_s=retry_after_s, param=param
    )


def is_out_of_credit(words: bytes) -> bool:
    """Whether an error says that the provider's account is, which no waiting cures."""
    return _NO_CREDIT.search(words, 0, _SEARCHED_BYTES) is not None


def failure_status(failure: ReportedError) -> int:
    """A failure without a status is the provider's, unless its words say otherwise."""
    status = failure.status
    if status is None:
        status = _STATUSES.get(failure.code or "") or _STATUSES.get(failure.kind or "")
    if status is None or status < _FIRST_ERROR_STATUS:
        return _SERVER_ERROR
    return status


def reported_error(error: AppError) -> ReportedError:
    """For a stream that has begun; its writer owns the form of the frame."""
    kind = "rate_limit_error" if error.status == _TOO_MANY_REQUESTS else None
    return ReportedError(message=error.message, status=error.status, kind=kind, code=error.code)


def unfinished() -> UpstreamFailed:
    return UpstreamFailed("The provider ended its stream before the answer was complete.")
