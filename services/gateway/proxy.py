"""The proxy endpoints: one call from its first byte to its last.

Authenticate, decode, authorise, admit, forward, meter, commit, finish. Whatever happens to a call
whose key is known, it leaves exactly one usage event, and its last byte goes out after that event
is durable.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

from libs.common.domain.access import check_account, check_key, check_model
from libs.common.domain.holds import estimate_input_tokens
from libs.common.domain.ids import secret_hash
from libs.common.domain.pricing import total_tokens
from libs.common.domain.route_tests import TEST_USER_ID
from libs.common.errors import AppError, ModelUnpriced, UpstreamFailed
from libs.common.schemas.invalidation import Invalidation
from libs.common.schemas.usage import CallStatus, TokenUsage, UsageEvent, UsageSource
from libs.common.storage.holds import Finished
from services.gateway.admission import Admissions
from services.gateway.auth import Headers, secret_of
from services.gateway.body import ClientDisconnected, read_body
from services.gateway.call import Call
from services.gateway.clock import SharedClock
from services.gateway.directory import Directory, Principal
from services.gateway.formats.base import CallRequest, Format, tokens_of_text
from services.gateway.metering import Meter, Metered
from services.gateway.metrics import CALL_SECONDS, CALLS, CALLS_OPEN, UNAUTHENTICATED
from services.gateway.replies import call_headers, cost_headers, error_headers, id_headers
from services.gateway.streaming import StreamRelay
from services.gateway.upstream.answer import Answer, Header, Stream
from services.gateway.upstream.dispatch import Dispatcher
from services.gateway.upstream.router import Plan, Router, pinned

log = structlog.get_logger(__name__)
_BAD_STATUS = 400
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
        with CALLS_OPEN.track_inprogress():
            await handler.handle(scope["headers"])


class _Handler:
    """One call's handler; what it knows is in `call`."""

    __slots__ = ("_call", "_gateway", "_receive", "_responding", "_send", "_usage_so_far")

    def __init__(self, gateway: Gateway, call: Call, receive: Receive, send: Send) -> None:
        self._gateway = gateway
        self._call = call
        self._receive = receive
        self._send = send
        self._responding = False
        self._usage_so_far: Callable[[], TokenUsage] | None = None

    async def handle(self, headers: Headers) -> None:
        try:
            principal = await self._authenticate(headers)
        except AppError as error:
            UNAUTHENTICATED.labels(self._call.format.name).inc()
            await self._send_error(error)
            return
        try:
            await self._serve(principal, headers)
        except ClientDisconnected:
            await self._commit(principal, "client_closed", _CLIENT_CLOSED)
        except AppError as error:
            await self._fail(principal, error)
        except asyncio.CancelledError:
            # The process is stopping and this call's time is over; its event still goes out.
            self._hand_in(principal)
            raise
        except Exception:
            log.exception("call.crashed", call_id=self._call.call_id)
            await self._fail(principal, AppError("The gateway failed to serve this call."))
        finally:
            self._gateway.admissions.finished(self._call)

    async def _authenticate(self, headers: Headers) -> Principal:
        principal = await self._gateway.directory.principal(secret_hash(secret_of(headers)))
        self._call.principal = principal
        return principal

    async def _serve(self, principal: Principal, headers: Headers) -> None:
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
            await self._stream(principal, request, upstream)
        else:
            await self._answer(principal, upstream)

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

    async def _answer(self, principal: Principal, answer: Answer) -> None:
        call = self._call
        call.first_byte_ms = call.elapsed_ms()
        headers: list[Header] = []
        if answer.status >= _BAD_STATUS:
            await self._commit(
                principal, "upstream_error", answer.status, error_code="upstream_refused"
            )
        else:
            usage, source = self._usage_of(answer)
            await self._commit(principal, "ok", answer.status, usage=usage, usage_source=source)
            headers += cost_headers(call.charged_nusd)
        headers += answer.headers + id_headers(call.call_id) + call_headers(call)
        headers.append((b"content-length", b"%d" % len(answer.body)))
        await self._respond(answer.status, headers, answer.body)

    def _usage_of(self, answer: Answer) -> tuple[TokenUsage, UsageSource]:
        """Raises UpstreamFailed where the answer cannot be read at all."""
        client_format = self._call.format
        reported = client_format.usage_of_answer(answer.body)
        if reported is not None:
            return reported, "provider"
        text_bytes = client_format.text_bytes_of_answer(answer.body)
        estimated = TokenUsage(
            input_text=self._call.input_tokens, output_text=tokens_of_text(text_bytes)
        )
        return estimated, "estimated"

    async def _stream(self, principal: Principal, request: CallRequest, stream: Stream) -> None:
        call = self._call
        relay = StreamRelay(call, call.format.reader(request), stream, self._receive, self._send)
        self._responding = True
        self._usage_so_far = relay.usage
        try:
            end = await relay.run()
        finally:
            await stream.close()
        try:
            await self._commit(
                principal,
                end.status,
                _CLIENT_CLOSED if end.status == "client_closed" else 200,
                usage=end.usage,
                usage_source=end.usage_source,
                error_code=end.error_code,
            )
        except AppError as error:
            await relay.finish(call.format.error_frame(error, call.call_id))
        else:
            await relay.finish(end.last_bytes)

    async def _fail(self, principal: Principal, error: AppError) -> None:
        forwarded = self._call.attempts > 0
        status: CallStatus = "upstream_error" if forwarded else "refused"
        try:
            await self._commit(principal, status, error.status, error_code=error.code)
        except AppError as unavailable:
            error = unavailable
        if isinstance(error, UpstreamFailed):
            log.warning("upstream.failed", call_id=self._call.call_id, error=error.message)
        await self._send_error(error)

    async def _commit(
        self,
        principal: Principal,
        status: CallStatus,
        http_status: int,
        *,
        usage: TokenUsage | None = None,
        usage_source: UsageSource = "none",
        error_code: str | None = None,
    ) -> None:
        call = self._call
        event = call.event(
            principal,
            status,
            http_status,
            usage=usage,
            usage_source=usage_source,
            error_code=error_code,
        )
        CALLS.labels(call.format.name, status, http_status).inc()
        CALL_SECONDS.labels(call.format.name).observe(call.elapsed_ms() / 1000)
        await self._gateway.meter.commit(self._metered(principal, event, usage))

    def _metered(
        self, principal: Principal, event: UsageEvent, usage: TokenUsage | None
    ) -> Metered:
        call = self._call
        if call.held_nusd is None:
            return Metered(event, None)
        finished = Finished(
            user_id=event.user_id,
            call_id=event.call_id,
            key_id=principal.key.key_id if principal.key.budgets else None,
            cost_nusd=call.charge(usage),
            tokens=None if usage is None else total_tokens(usage),
        )
        return Metered(event, finished)

    def _hand_in(self, principal: Principal) -> None:
        usage = None if self._usage_so_far is None else self._usage_so_far()
        source: UsageSource = "none" if usage is None else "estimated"
        event = self._call.event(
            principal,
            "upstream_error",
            503,
            usage=usage,
            usage_source=source,
            error_code="gateway_stopped",
        )
        self._gateway.meter.hand_in(self._metered(principal, event, usage))

    async def _send_error(self, error: AppError) -> None:
        if self._responding:
            return
        call = self._call
        answer = call.format.error(error, call.call_id)
        headers = error_headers(error, call.call_id, len(answer.body))
        await self._respond(answer.status, headers, answer.body)

    async def _respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._responding = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})
