"""Turns a usage event and its price into a ledger entry.

Invariants: the same event and price give the same entry; only tokens at a price cost anything;
an event that breaks the contract is unpostable, never repaired into a cost. What does not bear on
money (an endless model name, a clock that is ahead) is brought within bounds instead, because a
call that was made must show.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from libs.common.domain.call_cost import CallCost, cost_of_call, models_of
from libs.common.domain.money import EXACT, MAX_NUSD
from libs.common.domain.periods import period_keys, posting_zone
from libs.common.domain.pricing import multiplier_problem
from libs.common.domain.tags import kept_tags
from libs.common.domain.traces import read_traceparent
from libs.common.schemas.entry import Cost, EntryStatus, LedgerEntry
from libs.common.schemas.price import PriceVersion
from libs.common.schemas.usage import (
    MAX_FAILED_ATTEMPTS,
    MAX_OBJECT_ID_CHARS,
    MAX_OBJECTS,
    MAX_RUNS,
    MAX_TOOLS,
    TokenUsage,
    UsageEvent,
)

# Version 1 has no runs of other models and no uses of tools; an older worker would drop them.
EVENT_VERSION = 2
_KNOWN_VERSIONS = frozenset({1, EVENT_VERSION})
# A clock that is further ahead would charge a budget period that has not begun.
CLOCK_TOLERANCE = timedelta(hours=1)
# Counts beyond what a double holds exactly are damage, not usage.
MAX_COUNT = 2**53
MAX_ID_CHARS = 512
MAX_TEXT_CHARS = 1024

# By provider and model.
Prices = Mapping[tuple[str, str], PriceVersion]

_BILLED = frozenset({"ok", "client_closed", "upstream_error"})
_IDS = ("user_id", "key_id", "provider", "model", "deployment", "priced_as")
_MULTIPLIERS = ("account_multiplier", "deployment_multiplier")
_TEXTS = ("requested_model", "error_code", "provider_request_id", "response_id", "client_user")
_NUMBERS = ("http_status", "latency_ms", "first_byte_ms", "attempts", "asked_after_ms")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FREE = Cost(cost_nusd=0, lines=())


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """The facts on which a call's prices depend. Its model may have another name's price.

    `multiplier` is the account's, times the deployment's; `at` is the call's start.
    """

    provider: str | None
    model: str | None
    priced_as: str | None = None
    multiplier: Decimal
    at: datetime


class Unpostable(msgspec.Struct, frozen=True):
    """The event can never become an entry as it is."""

    reason: str


def accept(event: UsageEvent, now: datetime) -> UsageEvent | Unpostable:
    """The event within bounds and in whole milliseconds of UTC, or why it cannot be posted."""
    fault = _fault(event)
    if fault is not None:
        return Unpostable(fault)
    try:
        started_at = event.started_at.astimezone(UTC)
    except OverflowError:
        return Unpostable("started_at is out of range")
    if started_at > now + CLOCK_TOLERANCE:
        started_at = now
    context = read_traceparent(event.traceparent)
    texts = {name: getattr(event, name) for name in _TEXTS}
    clipped = {name: _clip(text) for name, text in texts.items() if _is_long(text)}
    objects = tuple(i for i in event.objects if 0 < len(i) <= MAX_OBJECT_ID_CHARS)[:MAX_OBJECTS]
    return msgspec.structs.replace(
        event,
        started_at=whole_ms(started_at),
        objects=objects,
        tags=kept_tags(event.tags),
        traceparent=None if context is None else context.traceparent(context.parent_id),
        **clipped,
    )


def billed_models(event: UsageEvent) -> list[tuple[str, str]]:
    """(provider, model) pairs whose prices the event needs; empty where it needs none."""
    usage = _billed_usage(event)
    if usage is None or event.provider is None or event.model is None:
        return []
    return [(event.provider, name) for name in models_of(usage, event.model, event.priced_as)]


def entry_of(event: UsageEvent, prices: Prices, posted_at: datetime) -> LedgerEntry | Unpostable:
    """The entry of an accepted event; `prices` has those of its models, where there are any."""
    status: EntryStatus = event.status
    cost, price_id = _FREE, None
    usage = _billed_usage(event)
    if usage is not None:
        call_cost = bounded_cost(usage, called_by(event), prices)
        if isinstance(call_cost, Unpostable):
            return call_cost
        cost, price_id = call_cost.cost, call_cost.price_id
        status = "unpriced" if call_cost.unpriced else event.status
    return LedgerEntry(
        entry_id=event.call_id,
        user_id=event.user_id,
        key_id=event.key_id,
        started_at=event.started_at,
        posted_at=whole_ms(posted_at),
        time_zone=event.time_zone,
        periods=period_keys(event.started_at, posting_zone(event.time_zone)),
        format=event.format,
        operation=event.operation,
        requested_model=event.requested_model,
        provider=event.provider,
        model=event.model,
        translated=event.translated,
        stream=event.stream,
        status=status,
        http_status=event.http_status,
        error_code=event.error_code,
        usage=event.usage,
        usage_source=event.usage_source,
        cost_nusd=cost.cost_nusd,
        lines=cost.lines,
        multiplier=cost.multiplier,
        account_multiplier=event.account_multiplier,
        price_id=price_id,
        price_notes=cost.notes,
        held_nusd=event.held_nusd,
        latency_ms=event.latency_ms,
        first_byte_ms=event.first_byte_ms,
        overhead_ms=event.overhead_ms,
        deployment=event.deployment,
        deployment_multiplier=event.deployment_multiplier,
        priced_as=event.priced_as,
        attempts=event.attempts,
        failed_attempts=event.failed_attempts[:MAX_FAILED_ATTEMPTS],
        asked_after_ms=event.asked_after_ms,
        provider_request_id=event.provider_request_id,
        response_id=event.response_id,
        objects=event.objects,
        client_user=event.client_user,
        tags=event.tags,
        traceparent=event.traceparent,
    )


def called_by(record: UsageEvent | LedgerEntry) -> Called:
    """The facts by which the call of an event or an entry was priced."""
    return Called(
        provider=record.provider,
        model=record.model,
        priced_as=record.priced_as,
        multiplier=EXACT.multiply(record.account_multiplier, record.deployment_multiplier),
        at=record.started_at,
    )


def unpriced_models(entry: LedgerEntry) -> list[tuple[str | None, str | None]]:
    """(provider, model) pairs that an entry waits for; its own, where that has no lines."""
    own_model = entry.priced_as or entry.model
    models = [line.model or own_model for line in entry.lines if line.unpriced]
    return [(entry.provider, model) for model in dict.fromkeys(models or [own_model])]


def _billed_usage(event: UsageEvent) -> TokenUsage | None:
    return event.usage if event.status in _BILLED else None


def bounded_cost(usage: TokenUsage, called: Called, prices: Prices) -> CallCost | Unpostable:
    """The call's cost, or why it cannot be posted."""

    def price_of(model: str | None) -> PriceVersion | None:
        name = model or called.priced_as or called.model
        provider = called.provider
        return None if provider is None or name is None else prices.get((provider, name))

    try:
        call_cost = cost_of_call(usage, called.model, price_of, called.multiplier, called.at)
    except ArithmeticError:
        ids = ", ".join(sorted(price.price_id for price in prices.values()))
        return Unpostable(f"price {ids} cannot be applied exactly")
    if not 0 <= call_cost.cost.cost_nusd <= MAX_NUSD:
        return Unpostable(f"the cost of {call_cost.cost.cost_nusd} nano-USD is out of range")
    return call_cost


def _fault(event: UsageEvent) -> str | None:
    """The first violation of the contract, named by its field."""
    if event.v not in _KNOWN_VERSIONS:
        return f"version {event.v} is unknown"
    if not _is_uuid(event.call_id):
        return "call_id is not a UUID"
    for name in _IDS:
        text: str | None = getattr(event, name)
        if text is not None and not 0 < len(text) <= MAX_ID_CHARS:
            return f"{name} has {len(text)} characters"
    if event.started_at.tzinfo is None:
        return "started_at has no time zone"
    for name in _NUMBERS:
        number: int | None = getattr(event, name)
        if number is not None and abs(number) > MAX_COUNT:
            return f"{name} is out of range"
    if not 0 <= event.held_nusd <= MAX_NUSD:
        return "held_nusd is out of range"
    fault = _multiplier_fault(event)
    if fault is not None:
        return fault
    return None if event.usage is None else _usage_fault(event.usage)


def _multiplier_fault(event: UsageEvent) -> str | None:
    for name in _MULTIPLIERS:
        problem = multiplier_problem(getattr(event, name))
        if problem is not None:
            return f"{name} {problem}"
    return None


def _usage_fault(usage: TokenUsage) -> str | None:
    if len(usage.runs) > MAX_RUNS or len(usage.tool_uses) > MAX_TOOLS:
        return "usage has more parts than any call has"
    for counts in (usage, *usage.runs):
        values = msgspec.structs.astuple(counts)
        for name, value in zip(counts.__struct_fields__, values, strict=True):
            if value is None:
                continue
            if isinstance(value, int) and not 0 <= value <= MAX_COUNT:
                return f"usage.{name} is out of range"
            if isinstance(value, str) and len(value) > MAX_ID_CHARS:
                return f"usage.{name} has {len(value)} characters"
    for name, uses in usage.tool_uses.items():
        if not (0 < len(name) <= MAX_ID_CHARS and 0 <= uses <= MAX_COUNT):
            return "usage.tool_uses is out of range"
    cost = usage.provider_cost_usd
    if cost is not None and not (cost.is_finite() and 0 <= cost <= MAX_COUNT):
        return "usage.provider_cost_usd is out of range"
    return None


def _is_uuid(text: str) -> bool:
    """Accepts only the canonical form, since another form would be another entry."""
    return _UUID.fullmatch(text) is not None


def _is_long(text: str | None) -> bool:
    return text is not None and len(text) > MAX_TEXT_CHARS


def _clip(text: str) -> str:
    return text[: MAX_TEXT_CHARS - 1] + "…"


def whole_ms(at: datetime) -> datetime:
    """MongoDB keeps milliseconds; what is computed must agree with what is kept."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
