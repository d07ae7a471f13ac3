"""Relays one stream: bytes are sent as they arrive, the last ones once the event is durable."""

import asyncio
from contextlib import aclosing

import msgspec
from starlette.types import Receive, Send

from libs.common.errors import (
    AppError,
    ResponseUnread,
    UpstreamRefused,
    UpstreamTimeout,
    release_frames,
)
from libs.common.schemas.usage import CallStatus, TokenUsage, UsageSource
from services.gateway.calls.call import Call
from services.gateway.calls.headers import Headers
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.calls.progress import AnswerProgress
from services.gateway.endpoints.followed_stream import follow
from services.gateway.endpoints.keep_alive import KeepAlive
from services.gateway.upstream.answer import Stream
from services.gateway.upstream.failed_attempts import log_broken
from services.gateway.usage.estimator import Estimator, by_bytes


class StreamEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a stream ended, what it used, and the bytes that close it for the client."""

    status: CallStatus
    usage: TokenUsage | None
    usage_source: UsageSource
    last_bytes: bytes
    error_code: str | None = None


class StreamRelay:
    """Sends the provider's chunks to the client and follows what they tell."""

    def __init__(
        self,
        call: Call,
        priced: PricedRequest,
        stream: Stream,
        progress: AnswerProgress,
        receive: Receive,
        send: Send,
        *,
        estimator: Estimator,
        keepalive_s: float,
    ) -> None:
        self._call = call
        self._priced = priced
        self._stream = stream
        self._progress = progress
        self._followed = follow(call, priced, stream)
        self._receive = receive
        self._send = send
        self._estimator = estimator
        self._keepalive_s = keepalive_s
        self._last_bytes = b""
        self._error: AppError | None = None
        self._client_is_gone = False
        self._is_sending = False

    async def run(self, headers: Headers) -> StreamEnd:
        """Sends `headers` beside the provider's, and all but the last bytes.

        Ends at once if the client disconnects, and at the stream's time limit if the client does
        not read, so that the provider's connection is released.
        """
        headers = self._stream.headers + headers
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        time_limit = asyncio.timeout_at(self._stream.ends_at)
        try:
            async with time_limit:
                watcher = asyncio.create_task(self._end_when_client_goes(time_limit))
                try:
                    await self._pump()
                finally:
                    watcher.cancel()
        except TimeoutError:
            if self._client_is_gone:
                return await self._end("client_closed")
            if time_limit.expired() and self._is_sending:
                self._error = ResponseUnread("The response was not read in time.")
                return await self._end("client_closed")
            self._error = UpstreamTimeout("The provider did not continue its answer in time.")
        except AppError as error:
            self._error = error
            release_frames(error)
        if self._error is None and not self._followed.has_failed():
            return await self._end("ok")
        return await self._end("upstream_error")

    async def send_last(self, last_bytes: bytes) -> None:
        """Call this once the event is durable, or with the frame of the error that it was not."""
        await self._send({"type": "http.response.body", "body": last_bytes})

    def error_frame(self, error: AppError) -> bytes:
        """The frame by which a stream that has begun reports an error."""
        return self._followed.error_frame(error)

    def usage(self) -> tuple[TokenUsage | None, UsageSource]:
        """As reported, else estimated from the number of bytes, which needs no tokeniser.

        None where the provider reported an error before it had delivered anything.
        """
        followed = self._followed
        self._progress.made = followed.objects()
        reported = followed.reported(is_whole=False)
        if reported is not None:
            return reported, "provider"
        if self._was_refused() and not followed.was_delivered():
            return None, "none"
        output_tokens = by_bytes(len(followed.text()) + followed.unkept_bytes())
        return followed.estimate(self._priced.input_tokens, output_tokens), "estimated"

    def _was_refused(self) -> bool:
        return self._followed.has_failed() or isinstance(self._error, UpstreamRefused)

    async def _pump(self) -> None:
        followed, progress = self._followed, self._progress
        keep_alive = KeepAlive(self._call.format.keep_alive, self._keepalive_s, self._send)
        try:
            async with aclosing(self._stream.chunks) as chunks:
                async for chunk in chunks:
                    out = followed.read(chunk)
                    if progress.first_byte_ms is None and (out or self._stream.is_relayed):
                        keep_alive.stop()
                        progress.first_byte_ms = self._call.elapsed_ms()
                    if out:
                        body = {"type": "http.response.body", "body": out, "more_body": True}
                        self._is_sending = True
                        await self._send(body)
                        self._is_sending = False
                    if followed.error is not None:
                        self._error = followed.error
                        return
                    if followed.is_over():
                        break
        finally:
            keep_alive.stop()
        self._last_bytes = followed.end()
        if progress.first_byte_ms is None:
            progress.first_byte_ms = self._call.elapsed_ms()

    async def _end_when_client_goes(self, time_limit: asyncio.Timeout) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._client_is_gone = True
        time_limit.reschedule(asyncio.get_running_loop().time())

    async def _end(self, status: CallStatus) -> StreamEnd:
        if status != "ok":
            # The provider can stop. After a whole answer the stream stays open: its connection can
            # be used again once its end has arrived, a moment after the last frame.
            await self._stream.close()
        usage, source = await self._final_usage(is_whole=status == "ok")
        if usage is not None and self._priced.request.models:
            usage = self._priced.answered_by(self._followed.model(), usage)
        last_bytes = self._last_bytes
        if self._error is not None:
            if status == "upstream_error":
                log_broken(self._call, self._error)
            last_bytes += self.error_frame(self._error)
        return StreamEnd(
            status=status,
            usage=usage,
            usage_source=source,
            last_bytes=last_bytes,
            error_code=self._error_code(),
        )

    async def _final_usage(self, *, is_whole: bool) -> tuple[TokenUsage | None, UsageSource]:
        """As `usage`, with the tokeniser's estimates."""
        followed = self._followed
        self._progress.made = followed.objects()
        reported = followed.reported(is_whole=is_whole)
        if reported is not None:
            return reported, "provider"
        if self._was_refused() and not followed.was_delivered():
            return None, "none"
        estimate = await self._estimator.of_stream(
            self._priced, followed.text(), followed.unkept_bytes()
        )
        return followed.estimate(estimate.input, estimate.output), "estimated"

    def _error_code(self) -> str | None:
        if self._error is not None:
            return self._error.code
        return UpstreamRefused.code if self._followed.has_failed() else None
