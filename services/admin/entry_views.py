"""How answers show entries of the ledger, with their amounts in USD."""

from datetime import datetime
from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.domain.money import nusd_to_usd
from libs.common.schemas.entry import (
    CostLine,
    EntryKind,
    EntryStatus,
    LedgerEntry,
    PriceNote,
)
from libs.common.schemas.usage import (
    ClientFormat,
    FailedAttempt,
    Operation,
    RunRole,
    TokenCounts,
    TokenUsage,
    UsageSource,
)
from libs.common.storage.mongo.entry_filter import trace_of_entry

_MILLION = 1_000_000
_TOKEN_CLASSES = frozenset(TokenCounts.__struct_fields__)


class LineView(msgspec.Struct, frozen=True, kw_only=True):
    """`amount_usd` is `quantity * rate_usd / per`; an unpriced line has neither yet.

    `model`, `run` and `price_id` are there where the line is another model's, or another run.
    """

    item: str
    quantity: int
    rate_usd: Decimal | None
    per: int
    amount_usd: Decimal | None
    model: str | UnsetType = UNSET
    run: RunRole | UnsetType = UNSET
    price_id: str | UnsetType = UNSET


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """An entry; `usage` leaves out what was not reported.

    `key_id` is null where it is not a key's: a credit to the account.
    """

    entry_id: str
    kind: EntryKind
    corrects: str | None
    reason: str | None
    made_by: str | None
    seq: int | None
    user_id: str
    key_id: str | None
    started_at: datetime
    posted_at: datetime
    time_zone: str
    periods: tuple[str, ...]
    format: ClientFormat | None
    operation: Operation
    requested_model: str | None
    provider: str | None
    model: str | None
    translated: bool
    stream: bool
    status: EntryStatus
    http_status: int | None
    error_code: str | None
    usage: TokenUsage | None
    usage_source: UsageSource
    lines: tuple[LineView, ...]
    multiplier: Decimal
    account_multiplier: Decimal
    price_id: str | None
    price_notes: tuple[PriceNote, ...]
    latency_ms: int | None
    first_byte_ms: int | None
    overhead_ms: float | None
    deployment: str | None
    deployment_multiplier: Decimal
    priced_as: str | None
    attempts: int
    failed_attempts: tuple[FailedAttempt, ...]
    asked_after_ms: int | None
    provider_request_id: str | None
    response_id: str | None
    objects: tuple[str, ...]
    client_user: str | None
    tags: tuple[str, ...]
    trace_id: str | None
    cost_usd: Decimal
    held_usd: Decimal


def entry_view(entry: LedgerEntry) -> EntryView:
    fields = msgspec.structs.asdict(entry)
    cost_nusd, held_nusd = fields.pop("cost_nusd"), fields.pop("held_nusd")
    del fields["traceparent"]
    fields |= {
        "key_id": entry.key_id or None,
        "trace_id": trace_of_entry(entry),
        "cost_usd": nusd_to_usd(cost_nusd),
        "held_usd": nusd_to_usd(held_nusd),
        "lines": tuple(map(line_view, entry.lines)),
    }
    return EntryView(**fields)


def line_view(line: CostLine) -> LineView:
    return LineView(
        item=line.item,
        quantity=line.quantity,
        rate_usd=None if line.unpriced else line.rate,
        per=_MILLION if line.item in _TOKEN_CLASSES else 1,
        amount_usd=None if line.unpriced else line.amount,
        model=UNSET if line.model is None else line.model,
        run=UNSET if line.run is None else line.run,
        price_id=UNSET if line.price_id is None else line.price_id,
    )
