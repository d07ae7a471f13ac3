"""Follows one stream: which bytes go to the client, what ends it, and its usage.

A relayed stream is read for that, frame by frame. A translated one knows it already, and is read
only where the provider has left something out.
"""

from typing import Protocol

import msgspec

from libs.common.domain.token_classes import total_input, total_output
from libs.common.domain.usage import filled
from libs.common.errors import AppError, UpstreamFailed
from libs.common.schemas.usage import TokenUsage
from services.gateway.calls.call import Call
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.formats.base import (
    MAX_KEPT_BYTES,
    NO_OBJECTS,
    MadeObjects,
    StreamReader,
    is_garbled,
    tier_in_force,
)
from services.gateway.formats.sse import FrameSplitter
from services.gateway.upstream.answer import Stream, StreamTranslation


class FollowedStream(Protocol):
    """`error` is set by bytes after which no client can continue reading."""

    @property
    def error(self) -> AppError | None: ...

    def read(self, chunk: bytes) -> bytes:
        """The bytes to send now. The frame that ends the stream is held back, with all after it."""
        ...

    def is_over(self) -> bool: ...

    def has_failed(self) -> bool:
        """Whether the provider has reported an error."""
        ...

    def end(self) -> bytes:
        """The provider has closed the stream, or it is over: the bytes that were held back.

        Raises UpstreamFailed if the answer is incomplete.
        """
        ...

    def error_frame(self, error: AppError) -> bytes:
        """The frame by which a stream that has begun reports an error."""
        ...

    def objects(self) -> MadeObjects: ...

    def reported(self, *, is_whole: bool) -> TokenUsage | None:
        """None where that lacks the prompt, or text that came."""
        ...

    def was_delivered(self) -> bool:
        """Whether anything came that is charged for."""
        ...

    def text(self) -> bytes:
        """The uncounted text, for estimating its tokens."""
        ...

    def unkept_bytes(self) -> int:
        """The number of bytes beyond what was kept."""
        ...

    def estimate(self, input_tokens: int, output_tokens: int) -> TokenUsage:
        """The reported usage, with estimates of missing counts."""
        ...

    def model(self) -> str | None:
        """The model that answers, as the stream names it."""
        ...


def follow(call: Call, priced: PricedRequest, stream: Stream) -> FollowedStream:
    """Raises UpstreamFailed where the format has no streams."""
    if stream.translation is not None:
        return _Translated(call, priced, stream.translation)
    return _Relayed(call, priced, stream)


class _Relayed:
    def __init__(self, call: Call, priced: PricedRequest, stream: Stream) -> None:
        self.error: AppError | None = None
        self._call = call
        self._rename = stream.rename
        self._frames = FrameSplitter()
        self._last_bytes = b""
        reader = call.format.reader(priced.request)
        self._reader = reader
        self.objects = reader.objects
        self.was_delivered = reader.was_delivered
        self.text = reader.text
        self.unkept_bytes = reader.unkept_bytes
        self.estimate = reader.estimate
        self.model = reader.model

    def read(self, chunk: bytes) -> bytes:
        reader, out = self._reader, []
        is_over = reader.done or reader.failed
        for provider_frame in self._frames.feed(chunk):
            frame = provider_frame if self._rename is None else self._rename(provider_frame)
            if is_over:
                self._last_bytes += frame
                continue
            if is_garbled(frame):
                # No client can continue after it, and most would fail silently.
                self.error = UpstreamFailed("The provider sent an event that cannot be read.")
                break
            client_frame = reader.read(frame)
            is_over = reader.done or reader.failed
            if is_over:
                self._last_bytes = client_frame
            else:
                out.append(client_frame)
        return out[0] if len(out) == 1 else b"".join(out)

    def is_over(self) -> bool:
        return self._reader.done or self._reader.failed

    def has_failed(self) -> bool:
        return self._reader.failed

    def end(self) -> bytes:
        if self.is_over():
            return self._last_bytes
        rest = self._frames.rest()
        last_bytes = self._reader.read(rest + b"\n\n") if rest.strip() else b""
        if not self.is_over() and not self._reader.is_whole():
            # The cut frame is dropped, since it would hide the error that follows from the client.
            raise UpstreamFailed("The provider ended its stream before the answer was complete.")
        return last_bytes

    def error_frame(self, error: AppError) -> bytes:
        return self._call.format.error_frame(error, self._call.call_id)

    def reported(self, *, is_whole: bool) -> TokenUsage | None:
        return self._reader.usage()


class _Translated:
    """Keeps the written frames, for the few streams whose text has to be read."""

    def __init__(self, call: Call, priced: PricedRequest, translation: StreamTranslation) -> None:
        self._call = call
        self._request = priced.request
        self._translation = translation
        self._frames: list[bytes] = []
        self._kept_bytes = 0
        self._unkept_bytes = 0
        self._reader: StreamReader | None = None

    @property
    def error(self) -> AppError | None:
        return self._translation.error

    def read(self, chunk: bytes) -> bytes:
        return self._keep(self._translation.feed(chunk))

    def _keep(self, frames: bytes) -> bytes:
        size = self._kept_bytes + len(frames)
        if size > MAX_KEPT_BYTES:
            self._unkept_bytes += len(frames)
        else:
            self._kept_bytes = size
            self._frames.append(frames)
        return frames

    def is_over(self) -> bool:
        return self._translation.is_over()

    def has_failed(self) -> bool:
        return self._translation.has_failed()

    def end(self) -> bytes:
        return self._keep(self._translation.end())

    def error_frame(self, error: AppError) -> bytes:
        return self._translation.error_frame(error)

    def objects(self) -> MadeObjects:
        """Empty: a client cannot name an object of another format's provider."""
        return NO_OBJECTS

    def reported(self, *, is_whole: bool) -> TokenUsage | None:
        """A report of both sides counts all of the text only if the stream is whole."""
        usage = self._translation.usage()
        if usage is None or usage.unbilled:
            return usage
        if is_whole and total_input(usage) and total_output(usage):
            return usage
        return None if self.text() else usage

    def was_delivered(self) -> bool:
        return self._translation.usage() is not None or self._read_kept().was_delivered()

    def text(self) -> bytes:
        return self._read_kept().text()

    def unkept_bytes(self) -> int:
        return self._read_kept().unkept_bytes() + self._unkept_bytes

    def estimate(self, input_tokens: int, output_tokens: int) -> TokenUsage:
        reported = self._translation.usage() or TokenUsage()
        tier = reported.service_tier or self._translation.tier()
        tier = tier_in_force(tier, self._request.service_tier)
        reported = msgspec.structs.replace(reported, service_tier=tier)
        return filled(reported, input_tokens, max(output_tokens - total_output(reported), 0))

    def model(self) -> str | None:
        return self._read_kept().model()

    def _read_kept(self) -> StreamReader:
        """The format's own reader, after it has read all kept frames."""
        if self._reader is None:
            self._reader = self._call.format.reader(self._request)
        frames = FrameSplitter().feed(b"".join(self._frames))
        self._frames.clear()
        for frame in frames:
            self._reader.read(frame)
        return self._reader
