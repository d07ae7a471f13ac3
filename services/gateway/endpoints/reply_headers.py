"""Headers that the gateway adds to its answers."""

from collections.abc import Sequence

from libs.common.domain.money import usd_text
from libs.common.errors import AppError, RateLimit, UnsupportedContentCoding
from services.gateway.calls.call import Call
from services.gateway.calls.headers import Header, Headers
from services.gateway.endpoints.content_coding import ACCEPTED
from services.gateway.usage.usage_event import UsageEventWriter


def id_headers(request_id: str) -> list[Header]:
    """Has both names, since OpenAI's SDKs read one and Anthropic's the other."""
    value = request_id.encode()
    return [(b"x-request-id", value), (b"request-id", value)]


def call_headers(writer: UsageEventWriter) -> list[Header]:
    """Which deployment answered, after how many attempts, the gateway's own time, and limits."""
    call, attempts, hold = writer.call, writer.attempts, writer.hold()
    headers = [
        (b"x-gateway-attempts", b"%d" % attempts.count),
        (b"x-gateway-overhead-ms", b"%.3f" % writer.progress.overhead_ms(call, attempts)),
    ]
    if hold is not None and hold.warnings:
        headers += [(b"x-gateway-budget-warning", line.encode()) for line in hold.warnings]
    if hold is not None and hold.limits:
        headers += rate_headers(call, hold.limits)
    if call.tracing is not None:
        headers += trace_headers(call)
    if attempts.target is not None:
        headers.append((b"x-gateway-model", attempts.target.name.encode()))
    return headers


def trace_headers(call: Call) -> Headers:
    """Where the client sent a trace context. The trace of any other call has the request's id."""
    return [] if call.tracing is None else call.tracing.answer_headers(call.call_id)


def rate_headers(call: Call, limits: Sequence[RateLimit]) -> list[Header]:
    """By the format's names."""
    headers: list[Header] = []
    for limit in limits:
        headers += call.format.headers.rate_limit(limit, call.started_at)
    return headers


def cost_headers(cost_nusd: int) -> list[Header]:
    """In USD, exact, as the ledger will have it."""
    return [(b"x-gateway-cost-usd", usd_text(cost_nusd).encode())]


def stream_headers(writer: UsageEventWriter) -> list[Header]:
    """They stop proxies from caching or buffering a stream."""
    return [
        *id_headers(writer.call.call_id),
        *call_headers(writer),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
    ]


def error_headers(error: AppError, request_id: str, body_bytes: int) -> list[Header]:
    """With the headers by which SDKs decide whether, and when, to retry."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % body_bytes),
        *id_headers(request_id),
    ]
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if isinstance(error, UnsupportedContentCoding):
        headers.append((b"accept-encoding", ACCEPTED))
    return headers
