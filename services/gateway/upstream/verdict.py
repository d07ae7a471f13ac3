"""Judges a deployment's outcome: done, retry here, try another deployment, or give up."""

from collections.abc import Iterable
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
from services.gateway.calls.headers import Header
from services.gateway.upstream.answer import Stream, WholeAnswer

Outcome = WholeAnswer | Stream | AppError

_REDIRECT_STATUS = 300
_BAD_STATUS = 400
# A retry, or another deployment, may succeed.
_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# This deployment's credential or model name is wrong; another deployment's may be right.
_MISCONFIGURED = frozenset({401, 403, 404})
# A request alone can cause these.
_OF_REQUESTS = frozenset({400, 402, 405, 409, 413, 415, 422, 424, 425})
# Providers, and self-hosted servers, report a prompt that is too long in these words.
_TOO_LONG = (
    b"context_length_exceeded",
    b"prompt is too long",
    b"maximum context length",
    b"exceed context limit",
    b"exceeds the context window",
    b"exceeds the maximum number of tokens",
    b"exceeds the available context size",
)
# An error's message is at the start of its body.
_SEARCHED_BYTES = 16_384


class Verdict(Enum):
    GOOD = auto()
    AGAIN = auto()
    ELSEWHERE = auto()
    TOO_LONG = auto()
    FINAL = auto()


class Failure(Enum):
    """For which accounts a bad outcome counts as the deployment's failure."""

    # For no account: any deployment might have answered so.
    OF_REQUEST = auto()
    # For its own account: the credential may be wrong, or the request may name a forbidden object.
    OF_ACCOUNT = auto()
    # For its own account, and for all once other accounts get the same.
    UNEXPLAINED = auto()
    # For all accounts: no request can cause it.
    OF_DEPLOYMENT = auto()


def judge(outcome: Outcome) -> Verdict:
    """Judges by the status; only a prompt that is too long is recognised by its message."""
    if isinstance(outcome, Stream) or outcome.status < _REDIRECT_STATUS:
        return Verdict.GOOD
    if isinstance(outcome, WholeAnswer) and outcome.is_final:
        return Verdict.GOOD
    if isinstance(outcome, InvalidRequest):
        # The translation to this deployment failed; another deployment may accept the call.
        return Verdict.ELSEWHERE
    if (
        isinstance(outcome, ProviderNotConfigured | UpstreamTimeout)
        or _cause(outcome) == "translation"
    ):
        # A second timeout would take too long, and a repeated translation fails in the same way.
        return Verdict.ELSEWHERE
    if isinstance(outcome, WholeAnswer) and is_redirect(outcome):
        return Verdict.ELSEWHERE
    if outcome.status in _TRANSIENT:
        return Verdict.AGAIN
    if outcome.status in _MISCONFIGURED:
        return Verdict.ELSEWHERE
    if says_too_long(_words(outcome)):
        return Verdict.TOO_LONG
    return Verdict.FINAL


def says_too_long(words: bytes) -> bool:
    """`words`: an error's code and message."""
    return any(marker in words for marker in _TOO_LONG)


def failure_of(outcome: WholeAnswer | AppError) -> Failure:
    """Attributes a bad outcome by its possible causes: a request can crash or slow a server."""
    cause = _cause(outcome)
    if cause == "unreachable":
        return Failure.OF_DEPLOYMENT
    if isinstance(outcome, ProviderNotConfigured):
        # A translation recognises this by words in the error, which can be the client's own.
        return Failure.OF_ACCOUNT
    if cause == "translation" or isinstance(outcome, InvalidRequest):
        return Failure.OF_REQUEST
    if outcome.status in _OF_REQUESTS:
        return Failure.OF_REQUEST
    if outcome.status in _MISCONFIGURED:
        return Failure.OF_ACCOUNT
    return Failure.UNEXPLAINED


def _cause(outcome: WholeAnswer | AppError) -> UpstreamCause | None:
    return outcome.cause if isinstance(outcome, UpstreamFailed) else None


def is_redirect(answer: WholeAnswer) -> bool:
    return _REDIRECT_STATUS <= answer.status < _BAD_STATUS


def retry_after_s(outcome: Outcome, now_s: float) -> float | None:
    """How long the provider wants to be left alone; `now_s` is Unix time."""
    if isinstance(outcome, AppError):
        return outcome.retry_after_s
    return asked_pause_s(outcome.headers, now_s)


def asked_pause_s(headers: Iterable[Header], now_s: float) -> float | None:
    """Reads `retry-after-ms` or `retry-after`, which may be a date."""
    values = dict(headers)
    for name, divisor in ((b"retry-after-ms", 1000.0), (b"retry-after", 1.0)):
        value = values.get(name)
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


def _words(outcome: WholeAnswer | AppError) -> bytes:
    if isinstance(outcome, WholeAnswer):
        return outcome.body[:_SEARCHED_BYTES]
    return f"{outcome.code} {outcome.message}".encode()[:_SEARCHED_BYTES]
