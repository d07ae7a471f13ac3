"""What a call's usage event is made of."""

import msgspec

from libs.common.domain.entries import EVENT_VERSION
from libs.common.schemas.price import AT_COST, GLOBAL
from libs.common.schemas.usage import CallStatus, TokenUsage, UsageEvent, UsageSource
from services.gateway.calls.attempts import Attempts
from services.gateway.calls.call import Call
from services.gateway.calls.progress import AnswerProgress
from services.gateway.formats.base import CallRequest

# Ids that clients and providers choose are cut to this length before they are stored.
_MAX_FOREIGN_NAME = 256


def event_of(
    call: Call,
    request: CallRequest | None,
    tags: tuple[str, ...],
    attempts: Attempts,
    progress: AnswerProgress,
    status: CallStatus,
    http_status: int,
    *,
    usage: TokenUsage | None = None,
    usage_source: UsageSource = "none",
    error_code: str | None = None,
    held_nusd: int = 0,
) -> UsageEvent:
    """`request` is None while it has not been read."""
    target, principal, made = attempts.target, call.principal, progress.made
    client_user = None if request is None else request.client_user
    provider_id = progress.provider_request_id
    translated = target is not None and not target.speaks(call.format.name)
    # A translation stores no response.
    response_id = None if translated else made.response_id
    if usage is not None and target is not None and target.region not in (None, GLOBAL):
        usage = _located(usage, target.region)
    return UsageEvent(
        v=EVENT_VERSION,
        call_id=call.call_id,
        user_id=principal.account.user_id,
        key_id=principal.key.key_id,
        started_at=call.started_at,
        time_zone=principal.account.time_zone,
        account_multiplier=principal.account.price_multiplier,
        format=call.format.name,
        operation=call.operation,
        requested_model=None if request is None else request.model,
        provider=None if target is None else target.provider,
        model=None if target is None else target.model,
        deployment=None if target is None else target.deployment_id,
        deployment_multiplier=AT_COST if target is None else target.multiplier,
        priced_as=None if target is None else target.priced_as,
        attempts=attempts.count,
        failed_attempts=attempts.failed,
        asked_after_ms=attempts.asked_after_ms(call),
        translated=translated,
        stream=request is not None and request.stream,
        status=status,
        http_status=http_status,
        error_code=error_code,
        usage=usage,
        usage_source=usage_source,
        held_nusd=held_nusd,
        latency_ms=call.elapsed_ms(),
        first_byte_ms=progress.first_byte_ms,
        overhead_ms=progress.overhead_ms(call, attempts),
        provider_request_id=provider_id and provider_id[:_MAX_FOREIGN_NAME],
        response_id=response_id and response_id[:_MAX_FOREIGN_NAME],
        objects=progress.objects() if made.objects and not translated else (),
        client_user=client_user and client_user[:_MAX_FOREIGN_NAME],
        tags=tags,
        traceparent=None if call.tracing is None else call.tracing.received,
    )


def _located(usage: TokenUsage, region: str | None) -> TokenUsage:
    """With the deployment's region, where the provider does not say in which the model ran."""
    if usage.inference_geo is not None:
        return usage
    return msgspec.structs.replace(usage, inference_geo=region)
