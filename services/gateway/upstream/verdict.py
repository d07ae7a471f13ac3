"""What a deployment's outcome means for its call: done, try it again, or try another one."""

from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from math import isfinite

from libs.common.errors import (
    AppError,
    InvalidRequest,
    ProviderNotConfigured,
    UpstreamCause,
    UpstreamFailed,
    UpstreamTimeout,
)
from services.gateway.upstream.answer import Answer, Stream

Outcome = Answer | Stream | AppError

_REDIRECT_STATUS = 300
_BAD_STATUS = 400
# The next try, or another deployment, may well succeed.
_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# This deployment's credential or model name is wrong; another one's may be right.
_MISCONFIGURED = frozenset({401, 403, 404})
# A request by itself may well be answered so, whatever it is that it names or holds.
_OF_REQUESTS = frozenset({400, 402, 405, 409, 413, 415, 422, 424, 425})
# How providers, and servers that people run themselves, say that a prompt is too long.
_TOO_LONG = (
    b"context_length_exceeded",
    b"prompt is too long",
    b"maximum context length",
    b"exceed context limit",
    b"exceeds the context window",
    b"exceeds the maximum number of tokens",
    b"exceeds the available context size",
)
# An error's words come first; nobody needs to search megabytes.
_SEARCHED_BYTES = 16_384


class Verdict(Enum):
    """What an outcome means for the call."""

    GOOD = auto()
    AGAIN = auto()
    ELSEWHERE = auto()
    TOO_LONG = auto()
    FINAL = auto()


class Failure(Enum):
    """For whom a bad outcome speaks against its deployment."""

    # For nobody: any deployment might have done the same.
    OF_REQUEST = auto()
    # For its account. The credential may be wrong, or what the request names forbidden.
    OF_ACCOUNT = auto()
    # For its account, and for all once other accounts meet the same.
    UNEXPLAINED = auto()
    # For all: nothing that a client sends brings it about.
    OF_DEPLOYMENT = auto()


def judge(outcome: Outcome) -> Verdict:
    """By the status alone, but for a prompt that is too long, which only words tell."""
    if isinstance(outcome, Stream) or outcome.status < _REDIRECT_STATUS:
        return Verdict.GOOD
    if isinstance(outcome, Answer) and outcome.is_final:
        return Verdict.GOOD
    if isinstance(outcome, InvalidRequest):
        # Of the translation to this deployment; another one may carry it.
        return Verdict.ELSEWHERE
    if (
        isinstance(outcome, ProviderNotConfigured | UpstreamTimeout)
        or _cause(outcome) == "translation"
    ):
        # Who kept the call waiting once is not given the time to do so again, and a translation
        # does not change.
        return Verdict.ELSEWHERE
    if isinstance(outcome, Answer) and is_redirect(outcome):
        return Verdict.ELSEWHERE
    if outcome.status in _TRANSIENT:
        return Verdict.AGAIN
    if outcome.status in _MISCONFIGURED:
        return Verdict.ELSEWHERE
    if says_too_long(_words(outcome)):
        return Verdict.TOO_LONG
    return Verdict.FINAL


def says_too_long(words: bytes) -> bool:
    """Of an error's code and message."""
    return any(marker in words for marker in _TOO_LONG)


def failure_of(outcome: Answer | AppError) -> Failure:
    """By what can have caused it: a server that crashes, or is slow, may do so over a request."""
    cause = _cause(outcome)
    if cause == "unreachable":
        return Failure.OF_DEPLOYMENT
    if isinstance(outcome, ProviderNotConfigured):
        # Of a translation, words tell so, among which may be the client's own.
        return Failure.OF_ACCOUNT
    if cause == "translation" or isinstance(outcome, InvalidRequest):
        return Failure.OF_REQUEST
    if outcome.status in _OF_REQUESTS:
        return Failure.OF_REQUEST
    if outcome.status in _MISCONFIGURED:
        return Failure.OF_ACCOUNT
    return Failure.UNEXPLAINED


def _cause(outcome: Answer | AppError) -> UpstreamCause | None:
    return outcome.cause if isinstance(outcome, UpstreamFailed) else None


def is_redirect(answer: Answer) -> bool:
    return _REDIRECT_STATUS <= answer.status < _BAD_STATUS


def retry_after_s(outcome: Outcome, now_s: float) -> float | None:
    """From `retry-after-ms` or `retry-after`, which may be a date; `now_s` is Unix time."""
    if isinstance(outcome, AppError):
        return outcome.retry_after_s
    headers = dict(outcome.headers)
    for name, divisor in ((b"retry-after-ms", 1000.0), (b"retry-after", 1.0)):
        value = headers.get(name)
        if value is not None:
            seconds = _seconds(value.decode("latin-1"), now_s * divisor)
            if seconds is not None:
                return seconds / divisor
    return None


def _seconds(value: str, now: float) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return _until(value, now)
    return max(number, 0.0) if isfinite(number) else None


def _until(date: str, now: float) -> float | None:
    try:
        at = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return max((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now, 0.0)


def _words(outcome: Answer | AppError) -> bytes:
    if isinstance(outcome, Answer):
        return outcome.body[:_SEARCHED_BYTES]
    return f"{outcome.code} {outcome.message}".encode()[:_SEARCHED_BYTES]
