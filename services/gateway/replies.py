"""Headers that the gateway adds to what it answers."""

from libs.common.errors import AppError
from services.gateway.upstream.answer import Header


def id_headers(request_id: str) -> list[Header]:
    """Both names, since OpenAI's SDKs read the one and Anthropic's the other."""
    value = request_id.encode()
    return [(b"x-request-id", value), (b"request-id", value)]


def stream_headers(request_id: str) -> list[Header]:
    """Proxies on the way must neither keep nor hold back a stream."""
    return [
        *id_headers(request_id),
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
