"""The proxy endpoints: one call from its first byte to its last.

Authenticate, decode, authorise, admit, forward, meter, commit, finish. Whatever happens to a call
whose key is known, it leaves exactly one usage event, and its last byte goes out after that event
is durable.
"""

import asyncio
from contextlib import AsyncExitStack, suppress
from time import perf_counter

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

from libs.common.domain.access import check_account, check_key, check_model
from libs.common.domain.holds import estimate_input_tokens
from libs.common.domain.ids import secret_hash
from libs.common.domain.route_tests import TEST_USER_ID
from libs.common.errors import (
    AppError,
    MethodNotAllowed,
    ModelUnpriced,
    ProviderNotConfigured,
    Unavailable,
    UpstreamFailed,
    UpstreamRefused,
)
from libs.common.schemas.invalidation import Invalidation
from libs.common.schemas.usage import CallStatus, TokenUsage, UsageSource
from services.gateway.admission import Admissions
from services.gateway.auth import Headers, secret_of
from services.gateway.body import ClientDisconnected, read_body
from services.gateway.call import Call
from services.gateway.clock import SharedClock
from services.gateway.directory import Directory, Principal
from services.gateway.formats.base import CallRequest, Format
from services.gateway.metering import Meter
from services.gateway.metrics import UNAUTHENTICATED
from services.gateway.open_calls import OpenCalls
from services.gateway.recorder import Recorder
from services.gateway.replies import call_headers, cost_headers, error_headers, id_headers
from services.gateway.streaming import StreamRelay
from services.gateway.upstream.answer import Answer, Header, Stream
from services.gateway.upstream.dispatch import Dispatcher
from services.gateway.upstream.router import Plan, Router, pinned

log = structlog.get_logger(__name__)
_METHOD = "POST"
_BAD_STATUS = 400
_CRASHED = "The gateway failed to serve this call."
# What nginx logs when the client hung up; no client ever reads it.
_CLIENT_CLOSED = 499


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that a call passes through."""

    directory: Directory
    router: Router
    admissions: Admissions
    dispatcher: Dispatcher
    meter: Meter
    clock: SharedClock
    open_calls: OpenCalls
    max_body_bytes: int

    def obey(self, invalidation: Invalidation) -> None:
        """Forgets what an administrator changed."""
        if invalidation.kind == "route":
            self.router.forget()
        else:
            self.directory.obey(invalidation)

    def forget(self) -> None:
        """Forgets all that is cached: invalidations may have been missed."""
        self.directory.forget()
        self.router.forget()


class ProxyEndpoint:
    """A plain ASGI application, since this is the hot path: one for each client format."""

    def __init__(self, client_format: Format) -> None:
        self._format = client_format

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway: Gateway = scope["state"]["gateway"]
        call = Call(self._format, now_ms=gateway.clock.now_ms())
        handler = _Handler(gateway, call, receive, send)
        with gateway.open_calls.one_more():
            await handler.handle(scope["method"], scope["headers"])


class _Handler:
    """One call's handler; what it knows is in `call`."""

    __slots__ = ("_call", "_gateway", "_receive", "_relay", "_responding", "_send")

    def __init__(self, gateway: Gateway, call: Call, receive: Receive, send: Send) -> None:
        self._gateway = gateway
        self._call = call
        self._receive = receive
        self._send = send
        self._responding = False
        self._relay: StreamRelay | None = None

    async def handle(self, method: str, headers: Headers) -> None:
        """Raises nothing but CancelledError: what goes wrong is answered and recorded."""
        wrong_method = _check_method(method)
        try:
            principal = await self._authenticate(headers)
        except AppError as error:
            UNAUTHENTICATED.labels(self._call.format.name).inc()
            await self._send_error(wrong_method or error)
            return
        except Exception:
            log.exception("call.crashed", call_id=self._call.call_id)
            await self._send_error(AppError(_CRASHED))
            return
        recorder = Recorder(self._call, principal, self._gateway.meter)
        try:
            if wrong_method is not None:
                raise wrong_method
            await self._serve(principal, headers, recorder)
        except ClientDisconnected:
            with suppress(Unavailable):
                await recorder.commit("client_closed", _CLIENT_CLOSED)
        except AppError as error:
            await self._fail(recorder, error)
        except asyncio.CancelledError:
            # The process is stopping and this call's time is over; its event still goes out.
            recorder.hand_in(*self._usage_so_far())
            raise
        except Exception:
            log.exception("call.crashed", call_id=self._call.call_id)
            await self._fail(recorder, AppError(_CRASHED))
        finally:
            self._gateway.admissions.finished(self._call)

    async def _authenticate(self, headers: Headers) -> Principal:
        principal = await self._gateway.directory.principal(secret_hash(secret_of(headers)))
        self._call.principal = principal
        return principal

    async def _serve(self, principal: Principal, headers: Headers, recorder: Recorder) -> None:
        call, gateway = self._call, self._gateway
        refusal = check_key(principal.key, call.started_at) or check_account(principal.account)
        if refusal is not None:
            raise refusal
        body = await read_body(self._receive, headers, gateway.max_body_bytes)
        request = call.request = call.format.decode(body)
        refusal = check_model(principal.key, request.model)
        if refusal is not None:
            raise refusal
        plan = await gateway.router.plan(request.model)
        if principal.account.user_id == TEST_USER_ID:
            plan = pinned(plan, headers)
        plan = await self._priced(plan)
        call.input_tokens = estimate_input_tokens(body)
        await gateway.admissions.admit(call, principal)
        asked_at = perf_counter()
        try:
            upstream = await gateway.dispatcher.send(call, request, plan, headers)
        finally:
            call.upstream_s = perf_counter() - asked_at
        call.provider_request_id = upstream.provider_request_id
        if isinstance(upstream, Stream):
            await self._stream(recorder, request, upstream)
        else:
            await self._answer(recorder, upstream)

    async def _priced(self, plan: Plan) -> Plan:
        """The plan without the deployments that have no price: those may not be called."""
        call, directory = self._call, self._gateway.directory
        call.target = plan.targets[0] if plan.targets else None
        call.prices = await directory.prices(plan.targets, call.started_at)
        if plan.context_targets:
            with suppress(ModelUnpriced):
                call.prices |= await directory.prices(plan.context_targets, call.started_at)
        if len(call.prices) == len(plan.targets) + len(plan.context_targets):
            return plan
        priced = [
            tuple(target for target in group if target.deployment_id in call.prices)
            for group in (plan.targets, plan.context_targets)
        ]
        return msgspec.structs.replace(plan, targets=priced[0], context_targets=priced[1])

    async def _answer(self, recorder: Recorder, answer: Answer) -> None:
        call = self._call
        call.first_byte_ms = call.elapsed_ms()
        headers: list[Header] = []
        if answer.status >= _BAD_STATUS:
            await recorder.commit("upstream_error", answer.status, error_code=UpstreamRefused.code)
        else:
            usage, source = call.usage_of_answer(answer.body)
            await recorder.commit("ok", answer.status, usage=usage, usage_source=source)
            headers += cost_headers(call.charged_nusd)
        headers += answer.headers + id_headers(call.call_id) + call_headers(call)
        headers.append((b"content-length", b"%d" % len(answer.body)))
        await self._respond(answer.status, headers, answer.body)

    async def _stream(self, recorder: Recorder, request: CallRequest, stream: Stream) -> None:
        call = self._call
        relay = self._relay = StreamRelay(
            call, call.format.reader(request), stream, self._receive, self._send
        )
        self._responding = True
        async with AsyncExitStack() as closing:
            closing.push_async_callback(stream.close)
            end = await relay.run()
            if end.status != "ok":
                # The provider need not go on. After a whole answer its connection is of use again
                # once its end has come, which is a moment after its last frame.
                await closing.aclose()
            await recorder.commit(
                end.status,
                _CLIENT_CLOSED if end.status == "client_closed" else 200,
                usage=end.usage,
                usage_source=end.usage_source,
                error_code=end.error_code,
            )
            await relay.finish(end.last_bytes)

    async def _fail(self, recorder: Recorder, error: AppError) -> None:
        call = self._call
        forwarded = call.attempts > 0 and not isinstance(error, ProviderNotConfigured)
        status: CallStatus = "upstream_error" if forwarded else "refused"
        usage, source = self._usage_so_far()
        http_status = call.format.error(error, call.call_id).status
        try:
            await recorder.commit(
                status, http_status, usage=usage, usage_source=source, error_code=error.code
            )
        except AppError as unavailable:
            error = unavailable
        if isinstance(error, UpstreamFailed):
            log.warning("upstream.failed", call_id=call.call_id, error=error.message)
        await self._send_error(error)

    def _usage_so_far(self) -> tuple[TokenUsage | None, UsageSource]:
        return (None, "none") if self._relay is None else self._relay.usage()

    async def _send_error(self, error: AppError) -> None:
        call = self._call
        if self._relay is not None:
            await self._relay.finish(call.format.error_frame(error, call.call_id))
        if self._responding:
            return
        answer = call.format.error(error, call.call_id)
        headers = error_headers(error, call.call_id, len(answer.body))
        if isinstance(error, MethodNotAllowed):
            headers.append((b"allow", _METHOD.encode()))
        await self._respond(answer.status, headers, answer.body)

    async def _respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._responding = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _check_method(method: str) -> AppError | None:
    """A call of a wrong one is audited like any other, so no route turns it away."""
    if method == _METHOD:
        return None
    return MethodNotAllowed(f"{method} is not allowed: use {_METHOD}.")
