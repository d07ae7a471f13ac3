"""Headers that the gateway adds to what it answers."""

from libs.common.domain.money import nusd_to_usd
from libs.common.errors import AppError
from services.gateway.call import Call
from services.gateway.upstream.answer import Header


def id_headers(request_id: str) -> list[Header]:
    """Both names, since OpenAI's SDKs read the one and Anthropic's the other."""
    value = request_id.encode()
    return [(b"x-request-id", value), (b"request-id", value)]


def call_headers(call: Call) -> list[Header]:
    """Which deployment answered, after how many attempts, and the gateway's own time."""
    headers = [
        (b"x-gateway-attempts", b"%d" % call.attempts),
        (b"x-gateway-overhead-ms", b"%.3f" % call.overhead_ms()),
    ]
    if call.target is not None:
        headers.append((b"x-gateway-model", call.target.name.encode()))
    return headers


def cost_headers(cost_nusd: int) -> list[Header]:
    """In USD, exact, as the ledger is going to say it."""
    return [(b"x-gateway-cost-usd", f"{nusd_to_usd(cost_nusd):f}".encode())]


def stream_headers(call: Call) -> list[Header]:
    """Proxies on the way must neither keep nor hold back a stream."""
    return [
        *id_headers(call.call_id),
        *call_headers(call),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
    ]


def error_headers(error: AppError, request_id: str, body_bytes: int) -> list[Header]:
    """With what the SDKs need to decide whether, and when, to try again."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % body_bytes),
        *id_headers(request_id),
    ]
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    return headers
