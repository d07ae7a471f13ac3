"""Ledger entries: append-only rows that explain every cent."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from libs.common.schemas.usage import CallStatus, ClientFormat, TokenUsage, UsageSource

EntryStatus = CallStatus | Literal["unpriced"]


class CostLine(msgspec.Struct, frozen=True, kw_only=True):
    """`quantity` tokens at `rate` USD per million, or searches at USD each: `amount` USD, exact."""

    item: str
    quantity: int
    rate: Decimal
    amount: Decimal


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The sum of the lines in nano-USD, rounded once, half to even."""

    cost_nusd: int
    lines: tuple[CostLine, ...]


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One call's row: `entry_id` is the call's id, `periods` the budget periods it counts in."""

    entry_id: str
    user_id: str
    key_id: str
    started_at: datetime
    posted_at: datetime
    time_zone: str = "UTC"
    periods: tuple[str, ...]
    format: ClientFormat
    requested_model: str | None
    provider: str | None
    model: str | None
    translated: bool
    stream: bool
    status: EntryStatus
    http_status: int
    error_code: str | None
    usage: TokenUsage | None
    usage_source: UsageSource
    cost_nusd: int
    lines: tuple[CostLine, ...]
    price_id: str | None
    held_nusd: int
    latency_ms: int | None
    first_byte_ms: int | None
    overhead_ms: float | None = None
    deployment: str | None = None
    attempts: int = 0
    provider_request_id: str | None
    client_user: str | None
