"""Relays one stream: bytes are sent as they arrive, the last ones once the event is durable."""

import asyncio
from contextlib import aclosing

import msgspec
from starlette.types import Receive, Send

from libs.common.domain.token_classes import total_input, total_output
from libs.common.domain.usage import filled
from libs.common.errors import (
    AppError,
    ResponseUnread,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimeout,
)
from libs.common.schemas.usage import CallStatus, TokenUsage, UsageSource
from services.gateway.calls.call import Call
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.endpoints.keep_alive import KeepAlive
from services.gateway.endpoints.reply_headers import stream_headers
from services.gateway.formats.base import StreamReader, is_garbled, tier_in_force
from services.gateway.formats.sse import FrameSplitter
from services.gateway.upstream.answer import Stream
from services.gateway.usage.estimator import Estimator, by_bytes


class StreamEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a stream ended, what it used, and the bytes that close it for the client."""

    status: CallStatus
    usage: TokenUsage | None
    usage_source: UsageSource
    last_bytes: bytes
    error_code: str | None = None


class StreamRelay:
    """Sends the provider's chunks to the client while the reader collects text and usage."""

    def __init__(
        self,
        call: Call,
        priced: PricedRequest,
        reader: StreamReader,
        stream: Stream,
        receive: Receive,
        send: Send,
        *,
        estimator: Estimator,
        keepalive_s: float,
    ) -> None:
        self._call = call
        self._priced = priced
        self._reader = reader
        self._stream = stream
        self._receive = receive
        self._send = send
        self._estimator = estimator
        self._keepalive_s = keepalive_s
        self._frames = FrameSplitter()
        self._last_bytes = b""
        self._error: AppError | None = None
        self._client_is_gone = False
        self._is_sending = False

    async def run(self) -> StreamEnd:
        """Sends all but the last bytes.

        Ends at once if the client disconnects, and at the stream's time limit if the client does
        not read, so that the provider's connection is released.
        """
        headers = self._stream.headers + stream_headers(self._call)
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        pumping = asyncio.timeout_at(self._stream.ends_at)
        try:
            async with pumping:
                watcher = asyncio.create_task(self._end_when_client_goes(pumping))
                try:
                    await self._pump()
                finally:
                    watcher.cancel()
        except TimeoutError:
            if self._client_is_gone:
                return await self._end("client_closed")
            if pumping.expired() and self._is_sending:
                self._error = ResponseUnread("The response was not read in time.")
                return await self._end("client_closed")
            self._error = UpstreamTimeout("The provider did not continue its answer in time.")
        except AppError as error:
            self._error = error
        if self._error is None and not self._reader.failed:
            return await self._end("ok")
        return await self._end("upstream_error")

    async def send_last(self, last_bytes: bytes) -> None:
        """Call this once the event is durable, or with the frame of the error that it was not."""
        await self._send({"type": "http.response.body", "body": last_bytes})

    def error_frame(self, error: AppError) -> bytes:
        """How the stream, which has begun, says that it failed."""
        if self._stream.error_frame is not None:
            return self._stream.error_frame(error)
        return self._call.format.error_frame(error, self._call.call_id)

    def usage(self) -> tuple[TokenUsage | None, UsageSource]:
        """As reported, else estimated from the number of bytes, which needs no tokeniser.

        None where the provider reported an error before it had delivered anything.
        """
        reported = self._reported(is_whole=False)
        if reported is not None:
            return reported, "provider"
        if self._was_refused() and not self._was_delivered():
            return None, "none"
        output_tokens = by_bytes(len(self._reader.text()) + self._reader.unkept_bytes())
        return self._estimate(self._priced.input_tokens, output_tokens), "estimated"

    def _reported(self, *, is_whole: bool) -> TokenUsage | None:
        """None where it lacks the prompt, or text that came.

        A translated stream knows what its provider has reported so far, of which the frames may
        tell less; only of a whole one that counts all of the text.
        """
        self._call.made = self._reader.made()
        if self._stream.usage is None:
            return self._reader.usage()
        told = self._stream.usage()
        if told is None or told.unbilled:
            return told
        if is_whole and total_input(told) and total_output(told):
            return told
        return None if self._reader.text() else told

    def _estimate(self, input_tokens: int, output_tokens: int) -> TokenUsage:
        """What was reported, with estimates of what that lacks."""
        if self._stream.usage is None:
            return self._reader.estimate(input_tokens, output_tokens)
        told = self._stream.usage() or TokenUsage()
        tier = tier_in_force(told.service_tier, self._priced.request.service_tier)
        told = msgspec.structs.replace(told, service_tier=tier)
        return filled(told, input_tokens, max(output_tokens - total_output(told), 0))

    def _was_delivered(self) -> bool:
        told = None if self._stream.usage is None else self._stream.usage()
        return told is not None or self._reader.was_delivered()

    def _was_refused(self) -> bool:
        return self._reader.failed or isinstance(self._error, UpstreamRefused)

    async def _pump(self) -> None:
        keep_alive = KeepAlive(self._call.format.keep_alive, self._keepalive_s, self._send)
        try:
            async with aclosing(self._stream.chunks) as chunks:
                async for chunk in chunks:
                    if self._call.first_byte_ms is None:
                        keep_alive.stop()
                        self._call.first_byte_ms = self._call.elapsed_ms()
                    out = self._read(self._frames.feed(chunk))
                    if out:
                        body = {"type": "http.response.body", "body": out, "more_body": True}
                        self._is_sending = True
                        await self._send(body)
                        self._is_sending = False
                    if self._is_over() or self._error is not None:
                        return
        finally:
            keep_alive.stop()
        self._end_of_input()

    def _read(self, frames: list[bytes]) -> bytes:
        """The frames to send now. Holds back the one that ends the stream, and all after it."""
        out: list[bytes] = []
        for given in frames:
            frame = given if self._stream.rename is None else self._stream.rename(given)
            if self._is_over():
                self._last_bytes += frame
                continue
            if is_garbled(frame):
                # No client can read on after it, and most would fail silently.
                self._error = UpstreamFailed("The provider sent an event that cannot be read.")
                break
            sent = self._reader.read(frame)
            if self._is_over():
                self._last_bytes = sent
            else:
                out.append(sent)
        return b"".join(out)

    def _is_over(self) -> bool:
        return self._reader.done or self._reader.failed

    def _end_of_input(self) -> None:
        """The provider closed the stream. Raises UpstreamFailed if the answer is incomplete."""
        rest = self._frames.rest()
        last_bytes = self._reader.read(rest + b"\n\n") if rest.strip() else b""
        if not self._is_over() and not self._reader.is_whole():
            # The cut frame is dropped, since it would hide the error that follows from the client.
            raise UpstreamFailed("The provider ended its stream before the answer was complete.")
        self._last_bytes += last_bytes

    async def _end_when_client_goes(self, pumping: asyncio.Timeout) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._client_is_gone = True
        pumping.reschedule(asyncio.get_running_loop().time())

    async def _end(self, status: CallStatus) -> StreamEnd:
        if status != "ok":
            # The provider can stop. After a whole answer the stream stays open: its connection can
            # be used again once its end has arrived, a moment after the last frame.
            await self._stream.close()
        usage, source = await self._metered(is_whole=status == "ok")
        if usage is not None and self._priced.request.models:
            usage = self._call.answered_by(self._reader.model(), usage)
        last_bytes = self._last_bytes
        if self._error is not None:
            last_bytes += self.error_frame(self._error)
        return StreamEnd(
            status=status,
            usage=usage,
            usage_source=source,
            last_bytes=last_bytes,
            error_code=self._error_code(),
        )

    async def _metered(self, *, is_whole: bool) -> tuple[TokenUsage | None, UsageSource]:
        """As `usage`, with the tokeniser's estimates."""
        reported = self._reported(is_whole=is_whole)
        if reported is not None:
            return reported, "provider"
        if self._was_refused() and not self._was_delivered():
            return None, "none"
        estimated = await self._estimator.of_stream(self._priced, self._reader)
        return self._estimate(estimated.input, estimated.output), "estimated"

    def _error_code(self) -> str | None:
        if self._error is not None:
            return self._error.code
        return UpstreamRefused.code if self._reader.failed else None
