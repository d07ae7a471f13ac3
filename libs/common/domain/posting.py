"""Turns a usage event and its price into a ledger entry.

Invariants: the same event and price give the same entry; only tokens at a price cost anything;
an event that breaks the contract is unpostable, never repaired into a cost. What does not bear on
money (an endless model name, a clock that is ahead) is brought within bounds instead, because a
call that was made must show.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from uuid import UUID

import msgspec

from libs.common.domain.money import EXACT, MAX_NUSD
from libs.common.domain.periods import period_keys, zone_of
from libs.common.domain.pricing import cost_of, multiplier_problem
from libs.common.schemas.entry import Cost, EntryStatus, LedgerEntry
from libs.common.schemas.price import PriceVersion
from libs.common.schemas.usage import (
    MAX_OBJECT_ID_CHARS,
    MAX_OBJECTS,
    MAX_RUNS,
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

_BILLED = frozenset({"ok", "client_closed", "upstream_error"})
_IDS = ("user_id", "key_id", "provider", "model", "deployment", "priced_as")
_MULTIPLIERS = ("account_multiplier", "deployment_multiplier")
_TEXTS = ("requested_model", "error_code", "provider_request_id", "response_id", "client_user")
_NUMBERS = ("http_status", "latency_ms", "first_byte_ms", "attempts")
_FREE = Cost(cost_nusd=0, lines=())


class Unpostable(msgspec.Struct, frozen=True):
    """The event can never become an entry as it is."""

    reason: str


def accept(event: UsageEvent, now: datetime) -> UsageEvent | Unpostable:
    """The event within bounds and in whole milliseconds of UTC, or why it has no place here."""
    fault = _fault(event)
    if fault is not None:
        return Unpostable(fault)
    try:
        started_at = event.started_at.astimezone(UTC)
    except OverflowError:
        return Unpostable("started_at is out of range")
    if started_at > now + CLOCK_TOLERANCE:
        started_at = now
    clipped = {name: _clip(getattr(event, name)) for name in _TEXTS}
    objects = tuple(i for i in event.objects if 0 < len(i) <= MAX_OBJECT_ID_CHARS)[:MAX_OBJECTS]
    return msgspec.structs.replace(
        event, started_at=whole_ms(started_at), objects=objects, **clipped
    )


def billed_model(event: UsageEvent) -> tuple[str, str] | None:
    """(provider, model) whose price the event needs; None where it needs none, or has no model."""
    if _billed_usage(event) is None or event.provider is None or event.model is None:
        return None
    return event.provider, event.priced_as or event.model


def entry_of(
    event: UsageEvent, price: PriceVersion | None, posted_at: datetime
) -> LedgerEntry | Unpostable:
    """The entry of an accepted event; `price` is its model's, None where there is none."""
    status: EntryStatus = event.status
    cost, price_id = _FREE, None
    usage = _billed_usage(event)
    if usage is not None and price is None:
        status = "unpriced"
    elif usage is not None and price is not None:
        multiplier = EXACT.multiply(event.account_multiplier, event.deployment_multiplier)
        priced = bounded_cost(usage, price, multiplier, event.started_at)
        if isinstance(priced, Unpostable):
            return priced
        cost, price_id = priced, price.price_id
    return LedgerEntry(
        entry_id=event.call_id,
        user_id=event.user_id,
        key_id=event.key_id,
        started_at=event.started_at,
        posted_at=whole_ms(posted_at),
        time_zone=event.time_zone,
        periods=period_keys(event.started_at, _zone_of(event)),
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
        provider_request_id=event.provider_request_id,
        response_id=event.response_id,
        objects=event.objects,
        client_user=event.client_user,
    )


def _zone_of(event: UsageEvent) -> tzinfo:
    """A zone that this machine does not know is read as UTC: the entry must be posted."""
    try:
        return zone_of(event.time_zone)
    except ValueError:
        return UTC


def _billed_usage(event: UsageEvent) -> TokenUsage | None:
    return event.usage if event.status in _BILLED else None


def bounded_cost(
    usage: TokenUsage, price: PriceVersion, multiplier: Decimal, at: datetime
) -> Cost | Unpostable:
    """The cost of a call that began then, unless it is one that no call has.

    `multiplier` is that of the account, times the deployment's.
    """
    try:
        cost = cost_of(usage, price, multiplier, at=at)
    except ArithmeticError:
        return Unpostable(f"price {price.price_id} cannot be applied exactly")
    if not 0 <= cost.cost_nusd <= MAX_NUSD:
        return Unpostable(f"the cost of {cost.cost_nusd} nano-USD is out of range")
    return cost


def _fault(event: UsageEvent) -> str | None:
    """What breaks the contract, named by its field."""
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
    if len(usage.runs) > MAX_RUNS or len(usage.tool_uses) > MAX_RUNS:
        return "usage has more parts than any call has"
    for counts in (usage, *usage.runs):
        for name in counts.__struct_fields__:
            value = getattr(counts, name)
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
    """In its one canonical spelling: another spelling would be another entry."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _clip(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - 1] + "…"


def whole_ms(at: datetime) -> datetime:
    """MongoDB keeps milliseconds; what is computed must agree with what is kept."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
