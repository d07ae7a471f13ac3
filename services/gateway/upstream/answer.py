"""What comes back from a provider, relayed or translated."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

from libs.common.errors import AppError
from libs.common.schemas.usage import TokenUsage
from services.gateway.calls.headers import Header

JSON_HEADERS: list[Header] = [(b"content-type", b"application/json")]
EVENT_STREAM_HEADERS: list[Header] = [(b"content-type", b"text/event-stream; charset=utf-8")]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, an error's among them.

    `usage` is what a translated one used, which its bytes may not tell. One that `is_final` has
    been paid for and is not tried again, whatever its status.
    """

    status: int
    headers: list[Header]
    body: bytes
    provider_request_id: str | None = None
    usage: TokenUsage | None = None
    is_final: bool = False


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of server-sent events: bytes as they come, in reads of any size.

    Whoever has it calls `close`, which ends the provider's call if it is still under way, by
    `ends_at` of the event loop's time at the latest, whether or not its client reads. `begun` is
    what of `chunks` has come already, where that was soon; `rename` changes the model's name in a
    frame. A translated one knows its own `usage`,
    and writes its own `error_frame`, since it knows what came before.
    """

    headers: list[Header]
    chunks: AsyncGenerator[bytes, None]
    close: Callable[[], Awaitable[None]]
    provider_request_id: str | None = None
    ends_at: float | None = None
    begun: bytes = b""
    rename: Callable[[bytes], bytes] | None = None
    usage: Callable[[], TokenUsage | None] | None = None
    error_frame: Callable[[AppError], bytes] | None = None


def closing_with(stream: Stream, then: Callable[[], None]) -> Stream:
    """The stream, which calls `then` when it is closed, and that only once."""
    pending = [then]

    async def close() -> None:
        try:
            await stream.close()
        finally:
            while pending:
                pending.pop()()

    return msgspec.structs.replace(stream, close=close)
