"""What comes back from a provider, relayed or translated."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

import msgspec

from libs.common.errors import AppError
from libs.common.schemas.usage import TokenUsage
from services.gateway.calls.headers import Header

JSON_HEADERS: list[Header] = [(b"content-type", b"application/json")]
EVENT_STREAM_HEADERS: list[Header] = [(b"content-type", b"text/event-stream; charset=utf-8")]


class WholeAnswer(msgspec.Struct, frozen=True, kw_only=True):
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


class StreamTranslation(Protocol):
    """Writes a stream in the client's format from a provider's bytes.

    `error` is set by bytes that cannot be read, or an answer that cannot be told.
    """

    error: AppError | None

    def feed(self, chunk: bytes) -> bytes:
        """Whole frames: what can be told now of all that came."""
        ...

    def is_over(self) -> bool:
        """Whether nothing follows: the answer is whole, or has failed."""
        ...

    def has_failed(self) -> bool:
        """Whether the provider has reported an error."""
        ...

    def end(self) -> bytes:
        """The frames that close the stream. Raises AppError for an answer that is not whole."""
        ...

    def usage(self) -> TokenUsage | None:
        """As the provider has reported it so far."""
        ...

    def tier(self) -> str | None:
        """The service tier that the provider has told so far beside the usage."""
        ...

    def error_frame(self, error: AppError) -> bytes:
        """How the stream says that it failed, after whatever of it was written."""
        ...


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of server-sent events: bytes as they come, in reads of any size.

    Whoever has it calls `close`, which ends the provider's call if it is still under way, by
    `ends_at` of the event loop's time at the latest, whether or not its client reads. `first_bytes`
    are those of `chunks` that have come already, where that was soon; `rename` changes the model's
    name in a frame. Where there is a `translation`, the chunks are those of another format.
    """

    headers: list[Header]
    chunks: AsyncGenerator[bytes, None]
    close: Callable[[], Awaitable[None]]
    provider_request_id: str | None = None
    ends_at: float | None = None
    first_bytes: bytes = b""
    rename: Callable[[bytes], bytes] | None = None
    translation: StreamTranslation | None = None

    @property
    def is_relayed(self) -> bool:
        return self.translation is None


def closing_with(stream: Stream, on_close: Callable[[], None]) -> Stream:
    """The stream, which calls `on_close` when it is closed, and that only once."""
    pending = [on_close]

    async def close() -> None:
        try:
            await stream.close()
        finally:
            while pending:
                pending.pop()()

    return msgspec.structs.replace(stream, close=close)
