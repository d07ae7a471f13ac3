"""The frame of every call: its authentication, its usage event, its answer, its errors.

Every call with a known key leaves exactly one usage event, and its last byte is sent after that
event is durable. While events cannot be recorded, calls are refused without one.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog
from starlette.types import Receive, Scope, Send

from libs.common.domain.access import check_account, check_key
from libs.common.domain.ids import secret_hash
from libs.common.errors import (
    AppError,
    MethodNotAllowed,
    NothingRecordable,
    ProviderNotConfigured,
    RateLimited,
    RequestTimeout,
    Unavailable,
    UpstreamFailed,
    UpstreamRefused,
    release_frames,
)
from libs.common.schemas.usage import CallStatus, TokenUsage, UsageSource
from services.gateway.calls.call import Arrival, Call, authenticated_call
from services.gateway.calls.credentials import secret_of
from services.gateway.calls.headers import Header, Headers
from services.gateway.calls.principal import Principal
from services.gateway.calls.tags import tags_of
from services.gateway.calls.tracing import tracing_of
from services.gateway.endpoints.body import ClientDisconnected
from services.gateway.endpoints.parts import Parts
from services.gateway.endpoints.reply_headers import (
    call_headers,
    cost_headers,
    error_headers,
    id_headers,
    rate_headers,
    trace_headers,
)
from services.gateway.endpoints.request_reader import EarlyCheck, RequestReader
from services.gateway.endpoints.stream_relay import StreamRelay
from services.gateway.formats.base import CallRequest
from services.gateway.metrics import NOT_RECORDED, REFUSED, UNAUTHENTICATED
from services.gateway.recordings.capture import CallCapture
from services.gateway.upstream.answer import WholeAnswer
from services.gateway.usage.usage_event import UsageEventWriter

log = structlog.get_logger(__name__)
_BAD_STATUS = 400
_POST = frozenset({"POST"})
_CRASHED = "The gateway failed to serve this call."
# nginx logs this status for a client that hung up; no client receives it.
CLIENT_CLOSED = 499


class Handler(ABC):
    """Handles one call; its subclasses make the calls of one kind of endpoint."""

    __slots__ = (
        "_allowed",
        "_arrival",
        "_capture",
        "_relay",
        "_responding",
        "parts",
        "reader",
        "receive",
        "send",
    )

    def __init__(
        self,
        parts: Parts,
        arrival: Arrival,
        receive: Receive,
        send: Send,
        allowed: frozenset[str] = _POST,
    ) -> None:
        self.parts = parts
        self._arrival = arrival
        self.receive = receive
        self.send = send
        self._allowed = allowed
        self.reader = RequestReader(parts)
        self._relay: StreamRelay | None = None
        self._responding = False
        self._capture: CallCapture | None = None

    @abstractmethod
    async def serve(self, writer: UsageEventWriter, headers: Headers) -> None:
        """Makes and answers the call of somebody who may make calls. Its errors are recorded."""

    def read_request(
        self, writer: UsageEventWriter, headers: Headers, refuse_early: EarlyCheck | None = None
    ) -> Coroutine[Any, Any, tuple[bytes, CallRequest]]:
        """As `RequestReader.read`, with what the client sends."""
        return self.reader.read(writer, headers, self.receive, self._capture, refuse_early)

    async def handle(self, scope: Scope) -> None:
        """Raises only CancelledError: all other errors are answered and recorded."""
        parts, headers = self.parts, scope["headers"]
        # The routes do not check it, since a call with a wrong method leaves a usage event too.
        wrong_method = None if scope["method"] in self._allowed else self._wrong_method(scope)
        with parts.open_calls:
            principal = await self._authenticate(headers, wrong_method)
            if principal is None:
                return
            call = authenticated_call(self._arrival, principal, tracing_of(headers))
            writer = UsageEventWriter(call, parts.admissions, parts.meter)
            if principal.key.recording is not None:
                self._start_capture(call)
            try:
                parts.meter.require_writable(principal.account.user_id)
                refusal = (
                    wrong_method
                    or check_key(principal.key, call.started_at)
                    or check_account(principal.account)
                )
                if refusal is not None:
                    raise refusal
                writer.tags = tags_of(headers)
                await self.serve(writer, headers)
            except ClientDisconnected:
                with suppress(Unavailable):
                    await writer.write("client_closed", CLIENT_CLOSED)
            except AppError as error:
                await self._fail(writer, error)
                release_frames(error)
            except asyncio.CancelledError:
                # The process is stopping and the grace is over; the event is still written.
                writer.write_nowait(*self._usage_so_far())
                raise
            except Exception:
                log.exception("call.crashed", call_id=call.call_id, trace_id=call.trace_id)
                await self._fail(writer, AppError(_CRASHED))
            finally:
                if not writer.is_waiting:
                    parts.admissions.close_call(call.call_id, writer.cost_nusd)
                self.reader.release()
                if self._capture is not None:
                    parts.recordings.offer(self._capture)

    def _wrong_method(self, scope: Scope) -> AppError:
        return MethodNotAllowed(f"{scope['method']} is not allowed: use {_names(self._allowed)}.")

    async def _authenticate(
        self, headers: Headers, wrong_method: AppError | None
    ) -> Principal | None:
        """None if the caller is not known; the error has then been sent."""
        try:
            return await self.parts.directory.principal(secret_hash(secret_of(headers)))
        except AppError as error:
            UNAUTHENTICATED.labels(self._arrival.format.name).inc()
            await self._send_error(wrong_method or error)
            return None
        except Exception:
            log.exception("call.crashed", call_id=self._arrival.call_id)
            await self._send_error(AppError(_CRASHED))
            return None

    def _start_capture(self, call: Call) -> None:
        """From here on, the client's bytes in both directions pass through the capture."""
        capture = self._capture = self.parts.recordings.start(call)
        if capture is not None:
            self.receive, self.send = (
                capture.wrap_receive(self.receive),
                capture.wrap_send(self.send),
            )

    def respond_by(self, relay: StreamRelay) -> None:
        """From here on, the client gets the relay's stream, errors included."""
        self._relay = relay
        self._responding = True

    async def answer(
        self,
        writer: UsageEventWriter,
        answer: WholeAnswer,
        usage: TokenUsage | None = None,
        usage_source: UsageSource = "none",
        *,
        failed: bool = False,
    ) -> None:
        """Sends a provider's whole answer, or its error, once the usage event is durable.

        `failed`: the answer reports a failure, whatever its status.
        """
        call = writer.call
        writer.progress.first_byte_ms = call.elapsed_ms()
        headers: list[Header] = []
        if failed or answer.status >= _BAD_STATUS:
            await writer.write(
                "upstream_error",
                answer.status,
                usage=usage,
                usage_source=usage_source,
                error_code=UpstreamRefused.code,
            )
        else:
            await writer.write("ok", answer.status, usage=usage, usage_source=usage_source)
            headers += cost_headers(writer.cost_nusd)
        headers += answer.headers + id_headers(call.call_id) + call_headers(writer)
        headers.append((b"content-length", b"%d" % len(answer.body)))
        await self._respond(answer.status, headers, answer.body)

    async def _fail(self, writer: UsageEventWriter, error: AppError) -> None:
        call = writer.call
        if isinstance(error, NothingRecordable):
            NOT_RECORDED.inc()
            await self._send_error(error, _refusal_headers(writer, error))
            return
        forwarded = writer.attempts.count > 0 and not isinstance(error, ProviderNotConfigured)
        status: CallStatus = "upstream_error" if forwarded else "refused"
        if not forwarded:
            # The class's code: an error's own may be a provider's word.
            REFUSED.labels(type(error).code).inc()
        usage, source = self._usage_so_far()
        http_status = call.format.error(error, call.call_id).status
        try:
            await writer.write(
                status, http_status, usage=usage, usage_source=source, error_code=error.code
            )
        except AppError as unavailable:
            error = unavailable
        if isinstance(error, UpstreamFailed):
            log.warning(
                "upstream.failed",
                call_id=call.call_id,
                trace_id=call.trace_id,
                error=error.message,
            )
        await self._send_error(error, _refusal_headers(writer, error))

    def _usage_so_far(self) -> tuple[TokenUsage | None, UsageSource]:
        return (None, "none") if self._relay is None else self._relay.usage()

    async def _send_error(self, error: AppError, call_headers: Sequence[Header] = ()) -> None:
        """`call_headers` are those of a call that is authenticated."""
        arrival = self._arrival
        if self._relay is not None:
            await self._relay.send_last(self._relay.error_frame(error))
        if self._responding:
            return
        answer = arrival.format.error(error, arrival.call_id)
        headers = error_headers(error, arrival.call_id, len(answer.body))
        headers += call_headers
        if isinstance(error, MethodNotAllowed):
            headers.append((b"allow", _names(self._allowed).encode()))
        if isinstance(error, RequestTimeout):
            # The rest of the body may still arrive, and must not be read as the next request.
            headers.append((b"connection", b"close"))
        await self._respond(answer.status, headers, answer.body)

    async def _respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._responding = True
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _refusal_headers(writer: UsageEventWriter, error: AppError) -> Headers:
    """The limits that refused the call, else those that admitted it, and its trace."""
    limits, hold = error.limits if isinstance(error, RateLimited) else (), writer.hold()
    if not limits and hold is not None:
        limits = hold.limits
    return rate_headers(writer.call, limits) + trace_headers(writer.call)


def _names(methods: frozenset[str]) -> str:
    return ", ".join(sorted(methods))
