"""Ledger entries: append-only rows that explain every cent."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from libs.common.schemas.price import AT_COST
from libs.common.schemas.usage import (
    CallStatus,
    ClientFormat,
    FailedAttempt,
    Operation,
    RunRole,
    TokenUsage,
    UsageSource,
)

EntryStatus = CallStatus | Literal["unpriced", "correction"]
EntryKind = Literal["call", "refund", "credit", "adjustment", "reprice", "late_event"]

# Terms or rates that the price lacks, so that the cost is a guess.
PriceNote = Literal[
    # The provider names a tier, speed or region that the price does not: the standard rates count.
    "service_tier_unknown",
    "speed_unknown",
    "region_unknown",
    # 30-minute or 12-hour cache writes at the rate of another kind of write.
    "cache_write_rate_missing",
    # A tool that no request asked for was used: it costs nothing.
    "tool_fee_missing",
    # The provider tells the cost, but not of this call: the rates count.
    "provider_cost_missing",
]


class CostLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`quantity` tokens at `rate` USD per million, or uses at USD each: `amount` USD, exact.

    The rate is the price's, times its surcharges for how the call was served. `model` is the one
    that ran, with its `price_id`, where it is not the entry's own; `run` says why it ran. An
    `unpriced` line waits for its model's price, and has none until then. Where the prices of an
    entry have different multipliers, they are in the rates.
    """

    item: str
    quantity: int
    rate: Decimal
    amount: Decimal
    model: str | None = None
    run: RunRole | None = None
    price_id: str | None = None
    unpriced: bool = False


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The sum of the lines times `multiplier`, in nano-USD, rounded once, half to even.

    `multiplier` is the price version's times the account's and the deployment's.
    """

    cost_nusd: int
    lines: tuple[CostLine, ...]
    multiplier: Decimal = AT_COST
    notes: tuple[PriceNote, ...] = ()


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One call's row, or a correction of one: it counts, with its sign, in `periods`.

    A call's `entry_id` is the call's id. A correction `corrects` another entry, whose key, model,
    tags and periods it shares, or no entry where it is a credit to the account (`key_id` is empty);
    `status` is `correction`, but for a `late_event`, which is a call that had been given up. The
    `lines` of a `reprice` explain what the call costs now, `cost_nusd` how much that is more.
    A cost is the sum of the `lines` times `multiplier`, of which `account_multiplier` is the
    account's part and `deployment_multiplier` the deployment's, as they were when the call began:
    re-pricing a call keeps them, and the name that it is `priced_as` where that is not its model's.
    `traceparent` is the client's, where it sent one (`domain.traces`).
    `seq` numbers the entries of an account from 1, without gaps; the ledger's store assigns it.
    """

    entry_id: str
    kind: EntryKind = "call"
    corrects: str | None = None
    reason: str | None = None
    made_by: str | None = None
    seq: int | None = None
    user_id: str
    key_id: str
    started_at: datetime
    posted_at: datetime
    time_zone: str = "UTC"
    periods: tuple[str, ...]
    format: ClientFormat | None
    operation: Operation = "create"
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
    cost_nusd: int
    lines: tuple[CostLine, ...]
    multiplier: Decimal = AT_COST
    account_multiplier: Decimal = AT_COST
    price_id: str | None
    price_notes: tuple[PriceNote, ...] = ()
    held_nusd: int
    latency_ms: int | None
    first_byte_ms: int | None
    overhead_ms: float | None = None
    deployment: str | None = None
    deployment_multiplier: Decimal = AT_COST
    priced_as: str | None = None
    attempts: int = 0
    failed_attempts: tuple[FailedAttempt, ...] = ()
    asked_after_ms: int | None = None
    provider_request_id: str | None = None
    response_id: str | None = None
    objects: tuple[str, ...] = ()
    client_user: str | None
    tags: tuple[str, ...] = ()
    traceparent: str | None = None
