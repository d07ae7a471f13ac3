"""What a provider's fault leaves: one event, and an error that the client can read."""

import json
from typing import Any

from libs.common.schemas.usage import TokenUsage, UsageEvent
from tests.service.gateway.dialects import Dialect
from tests.support.books import Books


async def check_event(
    books: Books, secret: str, status: int, code: str, usage: TokenUsage | None = None
) -> UsageEvent:
    """One `upstream_error`; a hold of nothing more than what was used is left."""
    event = await books.the_event(secret)
    assert (event.status, event.http_status, event.error_code) == ("upstream_error", status, code)
    assert event.held_nusd > 0
    if usage is None:
        assert (event.usage, event.usage_source) == (None, "none")
        assert await books.held(secret) == 0
    return event


def split_last(body: bytes) -> tuple[bytes, bytes]:
    """The last frame, and what came before it."""
    start = body.removesuffix(b"\n\n").rfind(b"\n\n")
    split = 0 if start < 0 else start + 2
    return body[:split], body[split:]


def check_error_frame(dialect: Dialect, frame: bytes, request_id: str, status: int) -> None:
    """The gateway's own error, as the format's streams say it."""
    head, _, data = frame.removesuffix(b"\n\n").partition(b"data: ")
    fields: dict[str, Any] = json.loads(data)
    assert head == (b"" if dialect.name == "chat" else b"event: error\n")
    code = "upstream_timeout" if status == 504 else "upstream_unavailable"
    if dialect.name == "responses":
        assert (fields["type"], fields["code"]) == ("error", code)
        fields = {"error": fields["error"]}
    dialect.check_error_body(fields, request_id, status, code)
