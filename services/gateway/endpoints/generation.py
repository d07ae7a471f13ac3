"""The endpoints that make tokens: one call from its first byte to its last.

Authenticate, decode, authorise, price, admit, forward, write the event, answer.
"""

from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from libs.common.domain.access import check_named_model
from libs.common.domain.attachments import attachments_of
from libs.common.domain.holds import estimate_input_tokens
from libs.common.domain.route_tests import TEST_USER_ID
from libs.common.domain.token_classes import total_input, total_output
from libs.common.errors import ModelUnpriced
from libs.common.schemas.price import PriceVersion
from libs.common.schemas.usage import TokenUsage, UsageSource
from services.gateway.calls.call import Call, arrive
from services.gateway.calls.headers import Headers
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.calls.principal import Principal
from services.gateway.calls.target import Plan
from services.gateway.directory.router import pinned_plan
from services.gateway.endpoints.body_memory import BodyLease
from services.gateway.endpoints.handler import CLIENT_CLOSED, Handler
from services.gateway.endpoints.parts import Parts
from services.gateway.endpoints.query import query_of_call
from services.gateway.endpoints.reply_headers import stream_headers
from services.gateway.endpoints.stream_relay import StreamRelay
from services.gateway.formats.base import CallRequest, Format
from services.gateway.upstream.answer import Stream, WholeAnswer
from services.gateway.usage.charged_refusals import is_charged
from services.gateway.usage.usage_event import UsageEventWriter

_BAD_STATUS = 400


class GenerationEndpoint:
    """A plain ASGI application, since this is the hot path: one for each client format."""

    def __init__(self, client_format: Format) -> None:
        self._format = client_format

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        parts: Parts = scope["state"]["parts"]
        arrival = arrive(
            self._format,
            now_ms=parts.clock.now_ms(),
            resource=query_of_call(self._format, scope["query_string"]),
        )
        return _CallHandler(parts, arrival, receive, send).handle(scope)


class _CallHandler(Handler):
    __slots__ = ()

    async def serve(self, writer: UsageEventWriter, headers: Headers) -> None:
        call, parts = writer.call, self.parts
        principal = call.principal
        body, request = await self.read_request(writer, headers, self._refuse_early)
        plan = await parts.router.plan(request.model)
        continued_tokens = 0
        if request.named_objects:
            owned = await parts.ownership.check(principal, call.format, request, plan)
            plan, continued_tokens = owned.plan, owned.input_tokens
            writer.progress.granted = owned.granted
        if principal.account.user_id == TEST_USER_ID:
            plan = pinned_plan(plan, headers)
        if request.models:
            _check_models(principal, request, plan)
        attempts = writer.attempts
        attempts.target = plan.targets[0] if plan.targets else None
        prices = await self._prices(call, plan, request)
        plan = _with_prices(plan, prices)
        self.reader.take_copies(call.format.name, plan)
        attachments = attachments_of(request.fields)
        priced = PricedRequest(
            request=request,
            prices=prices,
            prices_of_models=await self._prices_of_models(call, plan, request)
            if request.models
            else {},
            input_tokens=estimate_input_tokens(body, attachments) + continued_tokens,
            continued_tokens=continued_tokens,
        )
        await parts.admissions.admit(call, priced, writer.tags, attempts)
        upstream = await parts.dispatcher.send(call, request, plan, headers, attempts)
        writer.progress.provider_request_id = upstream.provider_request_id
        if isinstance(upstream, Stream):
            await self._relay_stream(writer, priced, upstream)
        else:
            await self._answer_whole(writer, priced, upstream)

    async def _refuse_early(self, call: Call, lease: BodyLease) -> None:
        await self.parts.early_refusals.check(call, lease.places)

    async def _prices(
        self, call: Call, plan: Plan, request: CallRequest
    ) -> dict[str, PriceVersion]:
        """By deployment. Raises ModelUnpriced if none of the plan's `targets` has one."""
        find, at, name = self.parts.directory.prices, call.started_at, call.format.name
        tools, models = request.features.tools, request.models
        prices = await find(plan.targets, at, tools=tools, client_format=name, models=models)
        if plan.context_targets:
            with suppress(ModelUnpriced):
                prices |= await find(
                    plan.context_targets, at, tools=tools, client_format=name, models=models
                )
        return prices

    async def _prices_of_models(
        self, call: Call, plan: Plan, request: CallRequest
    ) -> dict[str, tuple[PriceVersion, ...]]:
        find = self.parts.directory.prices_of_models
        return {
            target.deployment_id: await find(target, request.models, call.started_at)
            for target in plan.targets + plan.context_targets
        }

    async def _answer_whole(
        self, writer: UsageEventWriter, priced: PricedRequest, answer: WholeAnswer
    ) -> None:
        call, usage = writer.call, answer.usage
        if usage is None and answer.status >= _BAD_STATUS:
            await self._answer_refusal(writer, priced, answer)
            return
        if usage is None:
            # First, since what was made stays the account's if the usage cannot be read.
            writer.progress.made = call.format.objects_of_answer(priced.request, answer.body)
            usage = call.format.usage_of_answer(answer.body)
            if usage is not None and priced.request.models:
                usage = priced.answered_by(call.format.model_of_answer(answer.body), usage)
        source: UsageSource = "none" if usage is None else "provider"
        if answer.status >= _BAD_STATUS or call.format.has_failed(answer.body):
            # It is sent as it is; what it used until it failed is charged as far as it says so.
            await self.answer(writer, answer, usage, source, failed=True)
            return
        if usage is None or not _has_both_sides(usage):
            usage, source = await self.parts.estimator.of_answer(
                call.format, priced, answer.body, usage
            )
        await self.answer(writer, answer, usage, source)

    async def _answer_refusal(
        self, writer: UsageEventWriter, priced: PricedRequest, answer: WholeAnswer
    ) -> None:
        target = writer.attempts.target
        if target is None or not is_charged(target.provider, answer.status, answer.body):
            await self.answer(writer, answer)
            return
        prompt_usage = await self.parts.estimator.of_prompt(priced)
        await self.answer(writer, answer, prompt_usage, "estimated")

    async def _relay_stream(
        self, writer: UsageEventWriter, priced: PricedRequest, stream: Stream
    ) -> None:
        call, progress = writer.call, writer.progress
        progress.stream_overhead_ms = progress.overhead_ms(call, writer.attempts)
        try:
            relay = StreamRelay(
                call,
                priced,
                stream,
                progress,
                self.receive,
                self.send,
                estimator=self.parts.estimator,
                keepalive_s=self.parts.keepalive_s,
            )
            self.respond_by(relay)
            end = await relay.run(stream_headers(writer))
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


def _has_both_sides(usage: TokenUsage) -> bool:
    """Whether input and output are both reported, as in nearly every usage."""
    return bool(
        (usage.input_text or total_input(usage)) and (usage.output_text or total_output(usage))
    )


def _with_prices(plan: Plan, prices: Mapping[str, PriceVersion]) -> Plan:
    """Drops deployments without a price, since those may not be called."""
    if len(prices) == len(plan.targets) + len(plan.context_targets):
        return plan
    targets, context_targets = (
        tuple(target for target in group if target.deployment_id in prices)
        for group in (plan.targets, plan.context_targets)
    )
    return msgspec.structs.replace(plan, targets=targets, context_targets=context_targets)


def _check_models(principal: Principal, request: CallRequest, plan: Plan) -> None:
    """Checks the models that the request names beside its own. Raises ModelNotAllowed."""
    providers = {target.provider for target in plan.targets + plan.context_targets}
    for model in request.models:
        refusal = check_named_model(principal.key, model.name, providers, param=model.path)
        if refusal is not None:
            raise refusal
