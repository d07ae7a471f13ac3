"""Why an attempt failed, for the operator: in the call's entry, the log and the metrics.

Providers repeat parts of keys and of requests in their messages, so what looks like a secret or
like a client's text is left out. A client is never shown this.
"""

import re

import msgspec
import structlog

from libs.common.errors import AppError
from libs.common.schemas.usage import FailedAttempt
from services.gateway.calls.attempts import Attempt, Attempts
from services.gateway.calls.call import Call
from services.gateway.metrics import ATTEMPTS_FAILED
from services.gateway.upstream.answer import WholeAnswer
from services.gateway.upstream.verdict import Failure, failure_of

log = structlog.get_logger(__name__)

_READ_BYTES = 16_384
_MAX_MESSAGE = 300
_MAX_CODE = 64
_SECRET = re.compile(r"(?i)\b(?:bearer\s+)?(?=[^\s'\"]*\d)[\w*.-]{20,}")
_QUOTED = re.compile(r"(['\"`])(?:(?!\1).){40,}\1", re.DOTALL)
_SPACES = re.compile(r"\s+")


class _Error(msgspec.Struct, frozen=True):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None
    status: str | None = None


class _Body(msgspec.Struct, frozen=True):
    """An error as the providers write it; some put it at the top level."""

    error: _Error | str | None = None
    message: str | None = None
    code: str | int | None = None
    type: str | None = None


def note_failure(
    attempt: Attempt, attempts: Attempts, outcome: WholeAnswer | AppError, elapsed_ms: int
) -> FailedAttempt:
    """Keeps it for the entry, and logs and counts it."""
    call, target = attempt.call, attempt.target
    code, message = _code_and_message(outcome)
    failure = failure_of(outcome)
    failed_attempt = FailedAttempt(
        deployment=target.deployment_id,
        provider=target.provider,
        model=target.model,
        status=outcome.status if isinstance(outcome, WholeAnswer) else None,
        code=code[:_MAX_CODE],
        message=redacted(message),
        after_ms=attempts.asked_after_ms(call),
        elapsed_ms=elapsed_ms,
    )
    attempts.fail(failed_attempt)
    cause = _cause(outcome, failure)
    ATTEMPTS_FAILED.labels(target.provider, cause).inc()
    # A request that its provider refuses is nothing for the operator to fix.
    level = "info" if failure is Failure.OF_REQUEST else "warning"
    getattr(log, level)(
        "upstream.attempt_failed",
        call_id=call.call_id,
        trace_id=call.trace_id,
        route=attempt.request.model,
        deployment=failed_attempt.deployment,
        provider=failed_attempt.provider,
        model=failed_attempt.model,
        status=failed_attempt.status,
        code=failed_attempt.code,
        cause=cause,
        reason=failed_attempt.message,
        elapsed_ms=elapsed_ms,
    )
    return failed_attempt


def log_broken(call: Call, error: AppError) -> None:
    """A stream that broke off after it had begun, with the cause, which no client is told."""
    code, message = _code_and_message(error)
    log.warning(
        "upstream.stream_failed",
        call_id=call.call_id,
        trace_id=call.trace_id,
        code=code,
        reason=redacted(message),
    )


def redacted(message: str) -> str:
    """On one line, bounded, without what looks like a secret or quotes a text at length."""
    short = _SPACES.sub(" ", message[:_READ_BYTES]).strip()
    text = _QUOTED.sub("'...'", _SECRET.sub("...", short))
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE - 3]}..."


def _code_and_message(outcome: WholeAnswer | AppError) -> tuple[str, str]:
    if isinstance(outcome, AppError):
        # What could not be read, or reached, is in the exception that this one was raised from.
        inner = outcome.__cause__
        cause = "" if inner is None else f" {type(inner).__name__}: {inner}"
        return outcome.code, f"{outcome.message}{cause}"
    try:
        body = msgspec.json.decode(outcome.body[:_READ_BYTES], type=_Body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "", outcome.body[:_READ_BYTES].decode(errors="replace")
    error = body.error
    if isinstance(error, _Error):
        return str(error.code or error.type or error.status or ""), error.message or ""
    return str(body.code or body.type or ""), error or body.message or ""


def _cause(outcome: WholeAnswer | AppError, failure: Failure) -> str:
    """Of few: what a metric may have as its label."""
    if isinstance(outcome, AppError):
        return outcome.code
    if failure is Failure.OF_ACCOUNT:
        return "misconfigured"
    if failure is Failure.OF_REQUEST:
        return "request"
    return "status_429" if outcome.status == 429 else f"status_{outcome.status // 100}xx"
