"""One call under way, and the usage event that it leaves."""

from collections.abc import Callable
from datetime import UTC, datetime
from os import urandom
from time import perf_counter

import msgspec

from libs.common.domain.call_cost import is_same_model
from libs.common.domain.ids import uuid7
from libs.common.domain.posting import EVENT_VERSION
from libs.common.domain.traces import trace_id_of
from libs.common.schemas.price import AT_COST, GLOBAL
from libs.common.schemas.usage import (
    MAX_OBJECT_ID_CHARS,
    MAX_OBJECTS,
    CallStatus,
    FailedAttempt,
    Operation,
    TokenUsage,
    UsageEvent,
    UsageSource,
)
from services.gateway.calls.headers import Headers
from services.gateway.calls.principal import Principal
from services.gateway.calls.target import Target
from services.gateway.calls.tracing import Tracing
from services.gateway.formats.base import NOTHING_MADE, CallRequest, Format

# Ids that clients and providers choose are cut to this length before they are stored.
_MAX_FOREIGN_NAME = 256


class Call:
    """Extended from authentication to the last byte, within one request's handler."""

    __slots__ = (
        "_overhead_ms",
        "_started",
        "asked_s",
        "attempts",
        "call_id",
        "failed_attempts",
        "first_byte_ms",
        "format",
        "granted",
        "made",
        "operation",
        "principal",
        "provider_request_id",
        "request",
        "resource",
        "started_at",
        "tags",
        "target",
        "tracing",
        "upstream_s",
    )

    def __init__(
        self,
        client_format: Format,
        *,
        now_ms: int,
        operation: Operation = "create",
        resource: str = "",
        entropy: Callable[[int], bytes] = urandom,
    ) -> None:
        self.format = client_format
        self.operation = operation
        # Follows the path of the format, both at the gateway and at the provider.
        self.resource = resource
        self.call_id = uuid7(now_ms, entropy(10))
        self.started_at = datetime.fromtimestamp(now_ms / 1000, UTC)
        self.principal: Principal | None = None
        self.request: CallRequest | None = None
        self.target: Target | None = None
        self.tracing: Tracing | None = None
        self.attempts = 0
        # When the provider was asked whose answer is neither there nor given up (perf_counter).
        self.asked_s: float | None = None
        self.failed_attempts: tuple[FailedAttempt, ...] = ()
        self.upstream_s = 0.0
        self.first_byte_ms: int | None = None
        self.provider_request_id: str | None = None
        self.made = NOTHING_MADE
        self.tags: tuple[str, ...] = ()
        # Ids of the operator's objects that an administrator allows the caller to name.
        self.granted: frozenset[str] = frozenset()
        self._overhead_ms: float | None = None
        self._started = perf_counter()

    def stream_begins(self) -> None:
        """What follows takes as long as the provider streams: none of it is the gateway's own."""
        self._overhead_ms = self.overhead_ms()

    def elapsed_ms(self) -> int:
        return int((perf_counter() - self._started) * 1000)

    def asked_after_ms(self) -> int | None:
        """From the call's start to that of the attempt that has not failed; None without one."""
        return None if self.asked_s is None else int((self.asked_s - self._started) * 1000)

    def overhead_ms(self) -> float:
        """The time until a stream began, else so far, without the time that the provider took."""
        if self._overhead_ms is not None:
            return self._overhead_ms
        return int((perf_counter() - self._started - self.upstream_s) * 1_000_000) / 1000

    @property
    def user_id(self) -> str:
        """The account's id; empty before the call is authenticated."""
        return "" if self.principal is None else self.principal.account.user_id

    @property
    def trace_id(self) -> str:
        tracing = self.tracing
        return trace_id_of(self.call_id) if tracing is None else tracing.context.trace_id

    def attempt_headers(self) -> Headers:
        """The trace context of the attempt that begins; empty where the client sent none."""
        if self.tracing is None:
            return []
        return self.tracing.attempt_headers(self.call_id, len(self.failed_attempts) + 1)

    def reported_usage(self, body: bytes) -> TokenUsage | None:
        """The usage in the answer, if it has any. Raises UpstreamFailed if it cannot be read."""
        if self.request is not None:
            self.made = self.format.made_by(self.request, body)
        usage = self.format.usage_of_answer(body)
        if usage is None or self.request is None or not self.request.models:
            return usage
        return self.answered_by(self.format.model_of_answer(body), usage)

    def answered_by(self, model: str | None, usage: TokenUsage) -> TokenUsage:
        """The usage as that of the model that answered, where the request lets another do so.

        An answer's word counts only among the models that the request names.
        """
        if model is None or usage.model is not None or self.request is None:
            return usage
        for named in self.request.models:
            if named.instead and is_same_model(named.name, model):
                return msgspec.structs.replace(usage, model=named.name)
        return usage

    def event(
        self,
        principal: Principal,
        status: CallStatus,
        http_status: int,
        *,
        usage: TokenUsage | None = None,
        usage_source: UsageSource = "none",
        error_code: str | None = None,
        held_nusd: int = 0,
    ) -> UsageEvent:
        request, target = self.request, self.target
        translated = target is not None and not target.speaks(self.format.name)
        return UsageEvent(
            v=EVENT_VERSION,
            call_id=self.call_id,
            user_id=principal.account.user_id,
            key_id=principal.key.key_id,
            started_at=self.started_at,
            time_zone=principal.account.time_zone,
            account_multiplier=principal.account.price_multiplier,
            format=self.format.name,
            operation=self.operation,
            requested_model=None if request is None else request.model,
            provider=None if target is None else target.provider,
            model=None if target is None else target.model,
            deployment=None if target is None else target.deployment_id,
            deployment_multiplier=AT_COST if target is None else target.multiplier,
            priced_as=None if target is None else target.priced_as,
            attempts=self.attempts,
            failed_attempts=self.failed_attempts,
            asked_after_ms=self.asked_after_ms(),
            translated=translated,
            stream=request is not None and request.stream,
            status=status,
            http_status=http_status,
            error_code=error_code,
            usage=self._located(usage),
            usage_source=usage_source,
            held_nusd=held_nusd,
            latency_ms=self.elapsed_ms(),
            first_byte_ms=self.first_byte_ms,
            overhead_ms=self.overhead_ms(),
            provider_request_id=_bounded(self.provider_request_id),
            # LiteLLM's translation stores no response.
            response_id=None if translated else _bounded(self.made.response_id),
            objects=() if translated or not self.made.objects else self._objects(),
            client_user=None if request is None else _bounded(request.client_user),
            tags=self.tags,
            traceparent=None if self.tracing is None else self.tracing.received,
        )

    def _located(self, usage: TokenUsage | None) -> TokenUsage | None:
        """With the deployment's region, where the provider does not say in which the model ran."""
        region = None if self.target is None else self.target.region
        if region in (None, GLOBAL) or usage is None or usage.inference_geo is not None:
            return usage
        return msgspec.structs.replace(usage, inference_geo=region)

    def _objects(self) -> tuple[str, ...]:
        """Objects that the call made. Those that it was granted still belong to the operator."""
        ids = (i for i in self.made.objects if len(i) <= MAX_OBJECT_ID_CHARS)
        return tuple(i for i in dict.fromkeys(ids) if i not in self.granted)[:MAX_OBJECTS]


def _bounded(name: str | None) -> str | None:
    return None if name is None else name[:_MAX_FOREIGN_NAME]
