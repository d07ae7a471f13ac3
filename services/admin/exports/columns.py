"""The columns of an export, the same in every format.

Invariants: amounts are exact; a column has one kind in all rows; tokens are those of all models
that the call ran, as in the rollups, so that both have the same sums.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any, Literal

import msgspec

from libs.common.domain.money import nusd_to_usd, plain_amount
from libs.common.domain.periods import DAILY, posting_zone
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import TokenCounts

# `amount` is in USD and has 9 decimals at most, `factor` has 18: it is a product of three.
ColumnKind = Literal["text", "texts", "whole", "amount", "factor", "time", "flag"]
Cell = str | tuple[str, ...] | int | bool | Decimal | datetime | None


class ExportColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A null is what the entry does not have."""

    name: str
    kind: ColumnKind
    value: Callable[[LedgerEntry], Cell]


def row_of(entry: LedgerEntry, zone: tzinfo | None) -> list[Cell]:
    """Times are in the zone; None: in the one that the entry counts in."""
    at = posting_zone(entry.time_zone) if zone is None else zone
    cells: list[Cell] = []
    for column in COLUMNS:
        cell = column.value(entry)
        cells.append(cell.astimezone(at) if isinstance(cell, datetime) else cell)
    return cells


def _field(name: str, kind: ColumnKind = "text") -> ExportColumn:
    def value(entry: LedgerEntry) -> Any:
        return getattr(entry, name)

    return ExportColumn(name=name, kind=kind, value=value)


def _amount(name: str, field: str) -> ExportColumn:
    return ExportColumn(
        name=name, kind="amount", value=lambda entry: nusd_to_usd(getattr(entry, field))
    )


def _tokens(name: str) -> ExportColumn:
    def value(entry: LedgerEntry) -> int | None:
        usage = entry.usage
        if usage is None:
            return None
        if not usage.runs:
            return getattr(usage, name)  # type: ignore[no-any-return]
        counts = [getattr(each, name) for each in (usage, *usage.runs)]
        reported = [count for count in counts if count is not None]
        return sum(reported) if reported else None

    return ExportColumn(name=f"{name}_tokens", kind="whole", value=value)


def _of_usage(name: str, kind: ColumnKind) -> ExportColumn:
    def value(entry: LedgerEntry) -> Any:
        return None if entry.usage is None else getattr(entry.usage, name)

    return ExportColumn(name=name, kind=kind, value=value)


COLUMNS: Sequence[ExportColumn] = (
    _field("entry_id"),
    _field("kind"),
    _field("corrects"),
    _field("user_id"),
    ExportColumn(name="key_id", kind="text", value=lambda entry: entry.key_id or None),
    _field("started_at", "time"),
    _field("posted_at", "time"),
    _field("time_zone"),
    # In `time_zone`, whatever zone the export is in.
    ExportColumn(name="day", kind="text", value=lambda entry: entry.periods[DAILY]),
    _field("format"),
    _field("operation"),
    _field("requested_model"),
    _field("provider"),
    _field("model"),
    _field("deployment"),
    _field("translated", "flag"),
    _field("stream", "flag"),
    _field("attempts", "whole"),
    _field("status"),
    _field("http_status", "whole"),
    _field("error_code"),
    _field("usage_source"),
    *(_tokens(name) for name in TokenCounts.__struct_fields__),
    _of_usage("web_searches", "whole"),
    _of_usage("service_tier", "text"),
    _amount("cost_usd", "cost_nusd"),
    _amount("held_usd", "held_nusd"),
    ExportColumn(
        name="multiplier", kind="factor", value=lambda entry: plain_amount(entry.multiplier)
    ),
    _field("price_id"),
    _field("price_notes", "texts"),
    _field("latency_ms", "whole"),
    _field("first_byte_ms", "whole"),
    _field("provider_request_id"),
    _field("client_user"),
    _field("tags", "texts"),
    _field("reason"),
    _field("made_by"),
)
NAMES = tuple(column.name for column in COLUMNS)
# Fields of an entry that no column shows.
UNREAD = ("lines", "objects")
