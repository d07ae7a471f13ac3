"""Corrections: signed entries of their own, since no entry is ever changed.

Invariants: a correction counts in the periods of what it corrects; its id follows from what it
corrects and why, so that the same correction is posted once; the price of a call is replaced by one
correction after another, each of them relative to all those before it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from libs.common.domain.call_cost import models_of
from libs.common.domain.entries import Unpostable
from libs.common.domain.ids import uuid7
from libs.common.domain.money import MAX_NUSD
from libs.common.schemas.correction import CorrectionOrder
from libs.common.schemas.entry import Cost, EntryStatus, LedgerEntry
from libs.common.schemas.price import AT_COST

_PRICED = frozenset({"ok", "client_closed", "upstream_error", "unpriced"})
_LATE = "The call's own event came after the call had been given up."


class Posted(Protocol):
    """The fields of a posted entry that corrections need."""

    @property
    def user_id(self) -> str: ...
    @property
    def status(self) -> EntryStatus: ...
    @property
    def periods(self) -> tuple[str, ...]: ...


def derived_id(entry_id: str, purpose: str) -> str:
    """An id that follows from both and sorts beside the entry's own."""
    digest = hashlib.sha256(f"{entry_id}|{purpose}".encode()).digest()
    return uuid7(UUID(entry_id).int >> 80, digest)


def one_of_each(entries: Iterable[LedgerEntry]) -> dict[str, LedgerEntry]:
    """By id: the first one, but what became of a call wins over its having been given up."""
    by_id: dict[str, LedgerEntry] = {}
    for entry in entries:
        other = by_id.setdefault(entry.entry_id, entry)
        if other.status == "abandoned" and entry.status != "abandoned":
            by_id[entry.entry_id] = entry
    return by_id


def late_event(entry: LedgerEntry, posted: Posted) -> LedgerEntry | None:
    """The correction of a call that had been given up; None where its entry stands as it is."""
    if posted.status != "abandoned" or entry.status == "abandoned" or entry.kind != "call":
        return None
    if posted.user_id != entry.user_id:
        return None
    return msgspec.structs.replace(
        entry,
        entry_id=derived_id(entry.entry_id, "late_event"),
        kind="late_event",
        corrects=entry.entry_id,
        reason=_LATE,
        periods=posted.periods,
    )


def correction_entry(
    order: CorrectionOrder,
    original: LedgerEntry | None,
    *,
    periods: tuple[str, ...],
    time_zone: str,
    posted_at: datetime,
) -> LedgerEntry | Unpostable:
    """`periods` and `time_zone` are those of a correction without an original."""
    if not 0 < abs(order.cost_nusd) <= MAX_NUSD:
        return Unpostable(f"a correction of {order.cost_nusd} nano-USD is out of range")
    if original is None:
        if order.corrects is not None:
            return Unpostable(f"there is no entry '{order.corrects}'")
        return LedgerEntry(
            entry_id=order.entry_id,
            kind=order.kind,
            reason=order.reason,
            made_by=order.made_by,
            user_id=order.user_id,
            key_id="",
            started_at=order.at,
            posted_at=posted_at,
            time_zone=time_zone,
            periods=periods,
            format=None,
            requested_model=None,
            provider=None,
            model=None,
            translated=False,
            stream=False,
            status="correction",
            http_status=None,
            error_code=None,
            usage=None,
            usage_source="none",
            cost_nusd=order.cost_nusd,
            lines=(),
            price_id=None,
            held_nusd=0,
            latency_ms=None,
            first_byte_ms=None,
            provider_request_id=None,
            client_user=None,
        )
    if original.user_id != order.user_id:
        return Unpostable(f"entry '{original.entry_id}' belongs to another account")
    return msgspec.structs.replace(
        _linked(original, posted_at),
        entry_id=order.entry_id,
        kind=order.kind,
        reason=order.reason,
        made_by=order.made_by,
        cost_nusd=order.cost_nusd,
    )


def reprice_entry(
    entry: LedgerEntry,
    corrections: Sequence[LedgerEntry],
    new_cost: tuple[str | None, Cost],
    *,
    reason: str,
    made_by: str,
    posted_at: datetime,
) -> LedgerEntry | None:
    """The correction that gives the call its new price; None where it has that price already.

    `corrections` are those of the entry so far, `new_cost` the new price's id and the cost by it.
    Of two workers that re-price the same entry at once, one is skipped: both give their correction
    the same id, which is that of the next one in the entry's chain.
    """
    price_id, cost = new_cost
    chain = [row for row in corrections if row.kind == "reprice"]
    latest = max(chain, key=lambda row: row.seq or 0, default=entry)
    charged_nusd = entry.cost_nusd + sum(row.cost_nusd for row in chain)
    if latest.price_id == price_id and charged_nusd == cost.cost_nusd:
        return None
    return msgspec.structs.replace(
        _linked(entry, posted_at),
        entry_id=derived_id(entry.entry_id, f"reprice:{len(chain)}"),
        kind="reprice",
        reason=reason,
        made_by=made_by,
        cost_nusd=cost.cost_nusd - charged_nusd,
        lines=cost.lines,
        multiplier=cost.multiplier,
        price_id=price_id,
        price_notes=cost.notes,
    )


def priced_models(entry: LedgerEntry) -> list[tuple[str, str]]:
    """(provider, model) pairs by whose prices the entry costs what it does; empty without any."""
    if entry.kind not in ("call", "late_event") or entry.status not in _PRICED:
        return []
    if entry.usage is None or entry.provider is None or entry.model is None:
        return []
    return [
        (entry.provider, model) for model in models_of(entry.usage, entry.model, entry.priced_as)
    ]


def net_nusd(entry: LedgerEntry, corrections: Iterable[LedgerEntry]) -> int:
    """The account's charge for the call, with all corrections."""
    return entry.cost_nusd + sum(row.cost_nusd for row in corrections)


def _linked(original: LedgerEntry, posted_at: datetime) -> LedgerEntry:
    """What a correction shares with its original; tokens and timings count once, there."""
    return msgspec.structs.replace(
        original,
        corrects=original.entry_id,
        seq=None,
        posted_at=posted_at,
        status="correction",
        http_status=None,
        error_code=None,
        usage=None,
        usage_source="none",
        lines=(),
        multiplier=AT_COST,
        price_id=None,
        price_notes=(),
        held_nusd=0,
        latency_ms=None,
        first_byte_ms=None,
        overhead_ms=None,
        attempts=0,
    )
