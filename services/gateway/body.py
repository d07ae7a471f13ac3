"""Reads a request's body, whole and bounded."""

from starlette.types import Receive

from libs.common.errors import AppError, BodyTooLarge, UnsupportedMediaType
from services.gateway.auth import Headers


class ClientDisconnected(Exception):
    """The client went away before its request was complete; there is nobody to answer."""


async def read_body(receive: Receive, headers: Headers, limit: int) -> bytes:
    """Raises UnsupportedMediaType, BodyTooLarge (without reading on) or ClientDisconnected."""
    for name, value in headers:
        if name == b"content-type":
            _require_json(value)
        elif name == b"content-length" and value.isdigit() and int(value) > limit:
            raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _require_json(content_type: bytes) -> None:
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type != b"application/json" and not media_type.endswith(b"+json"):
        shown = media_type.decode("latin-1")
        raise UnsupportedMediaType(f"Send the body as application/json, not as '{shown}'.")


def _too_large(limit: int) -> AppError:
    return BodyTooLarge(f"The request body is larger than the limit of {limit} bytes.")
