"""The endpoints that make tokens: one call from its first byte to its last.

Authenticate, decode, authorise, admit, forward, meter, commit, finish.
"""

from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from libs.common.domain.access import check_named_model
from libs.common.domain.attachments import attachments_of
from libs.common.domain.holds import estimate_input_tokens
from libs.common.domain.route_tests import TEST_USER_ID
from libs.common.errors import ModelUnpriced
from services.gateway.calls.call import Call
from services.gateway.calls.headers import Headers
from services.gateway.calls.principal import Principal
from services.gateway.calls.target import Plan
from services.gateway.directory.router import pinned
from services.gateway.endpoints.body_memory import BodyLease
from services.gateway.endpoints.handler import CLIENT_CLOSED, Handler
from services.gateway.endpoints.parts import Parts
from services.gateway.endpoints.query import query_of_call
from services.gateway.endpoints.stream_relay import StreamRelay
from services.gateway.formats.base import CallRequest, Format
from services.gateway.upstream.answer import Answer, Stream
from services.gateway.usage.usage_event import UsageEventWriter

_BAD_STATUS = 400


class GenerationEndpoint:
    """A plain ASGI application, since this is the hot path: one for each client format."""

    def __init__(self, client_format: Format) -> None:
        self._format = client_format

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        gateway: Parts = scope["state"]["gateway"]
        call = Call(
            self._format,
            now_ms=gateway.clock.now_ms(),
            resource=query_of_call(self._format.name, scope["query_string"]),
        )
        return _CallHandler(gateway, call, receive, send).handle(scope)


class _CallHandler(Handler):
    __slots__ = ()

    async def serve(self, principal: Principal, headers: Headers, writer: UsageEventWriter) -> None:
        call, gateway = self.call, self.gateway
        body, request = await self.read_request(principal, headers, self._refuse_early)
        plan = await gateway.router.plan(request.model)
        if request.named:
            owned = await gateway.ownership.check(principal, call.format, request, plan)
            plan, call.granted = owned.plan, owned.granted
            call.continued_tokens = owned.input_tokens
        if principal.account.user_id == TEST_USER_ID:
            plan = pinned(plan, headers)
        if request.models:
            _check_models(principal, request, plan)
        plan = await self._priced(plan, request)
        self.take_copies(plan)
        attachments = attachments_of(body, request.fields)
        call.input_tokens = estimate_input_tokens(body, attachments) + call.continued_tokens
        await gateway.admissions.admit(call, principal)
        asked_at = perf_counter()
        try:
            upstream = await gateway.dispatcher.send(call, request, plan, headers)
        finally:
            call.upstream_s = perf_counter() - asked_at
        call.provider_request_id = upstream.provider_request_id
        if isinstance(upstream, Stream):
            await self._stream(writer, request, upstream)
        else:
            await self._whole(writer, upstream)

    async def _refuse_early(self, principal: Principal, lease: BodyLease) -> None:
        await self.gateway.early_refusals.check(self.call, principal, lease.places)

    async def _priced(self, plan: Plan, request: CallRequest) -> Plan:
        """The plan without the deployments that have no price: those may not be called."""
        call, directory = self.call, self.gateway.directory
        call.target = plan.targets[0] if plan.targets else None
        prices = partial(
            directory.prices,
            at=call.started_at,
            searching=request.reach.searches > 0,
            models=request.models,
        )
        call.prices = await prices(plan.targets)
        if plan.context_targets:
            with suppress(ModelUnpriced):
                call.prices |= await prices(plan.context_targets)
        if request.models:
            call.prices_of_models = {
                target.deployment_id: await directory.prices_of_models(
                    target, request.models, call.started_at
                )
                for target in plan.targets + plan.context_targets
                if target.deployment_id in call.prices
            }
        if len(call.prices) == len(plan.targets) + len(plan.context_targets):
            return plan
        priced = [
            tuple(target for target in group if target.deployment_id in call.prices)
            for group in (plan.targets, plan.context_targets)
        ]
        return msgspec.structs.replace(plan, targets=priced[0], context_targets=priced[1])

    async def _whole(self, writer: UsageEventWriter, answer: Answer) -> None:
        if answer.status >= _BAD_STATUS:
            await self.answer(writer, answer)
            return
        usage = self.call.reported_usage(answer.body)
        if usage is not None:
            await self.answer(writer, answer, usage, "provider")
            return
        usage = await self.gateway.estimator.of_answer(self.call, answer.body)
        await self.answer(writer, answer, usage, "estimated")

    async def _stream(self, writer: UsageEventWriter, request: CallRequest, stream: Stream) -> None:
        call = self.call
        try:
            relay = StreamRelay(
                call,
                call.format.reader(request),
                stream,
                self.receive,
                self.send,
                estimator=self.gateway.estimator,
                keepalive_s=self.gateway.keepalive_s,
            )
            self.respond_by(relay)
            end = await relay.run()
            await writer.write(
                end.status,
                CLIENT_CLOSED if end.status == "client_closed" else 200,
                usage=end.usage,
                usage_source=end.usage_source,
                error_code=end.error_code,
            )
            await relay.send_last(end.last_bytes)
        finally:
            await stream.close()


def _check_models(principal: Principal, request: CallRequest, plan: Plan) -> None:
    """Those that the request names beside its own. Raises ModelNotAllowed."""
    providers = {target.provider for target in plan.targets + plan.context_targets}
    for model in request.models:
        refusal = check_named_model(principal.key, model.name, providers, param=model.path)
        if refusal is not None:
            raise refusal
