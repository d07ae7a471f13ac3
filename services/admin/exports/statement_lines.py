"""The lines of a statement, from sums by key, provider, model and status."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from libs.common.domain.money import nusd_to_usd
from libs.common.schemas.usage import TokenCounts
from libs.common.storage.mongo.rollup_filter import Sums

BY = ("key", "provider", "model", "status")
TOKENS = TokenCounts.__struct_fields__
_CORRECTION = "correction"


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """Calls, corrections of calls, and credits to the account; `total_usd` is all of them.

    A refund and a credit are negative. `tokens` are by class, those reported.
    """

    calls: int
    calls_usd: Decimal
    corrections: int
    corrections_usd: Decimal
    credits: int
    credits_usd: Decimal
    total_usd: Decimal
    tokens: dict[str, int]


class StatementLine(Amounts, frozen=True, kw_only=True):
    """Of one key and model; null where there is none, as of credits."""

    key_id: str | None
    key_name: str | None
    provider: str | None
    model: str | None


def lines_of(rows: Sequence[Sums], names: Mapping[str, str]) -> list[StatementLine]:
    """The dearest first. `names` are those of keys, by their ids."""
    by_line: dict[tuple[str, ...], list[Sums]] = {}
    for row in rows:
        by_line.setdefault(row.group[:3], []).append(row)
    lines = [
        StatementLine(
            key_id=key_id or None,
            key_name=names.get(key_id),
            provider=provider or None,
            model=model or None,
            **amounts_of(sums),
        )
        for (key_id, provider, model), sums in by_line.items()
    ]
    return sorted(lines, key=lambda line: line.total_usd, reverse=True)


def amounts_of(rows: Sequence[Sums]) -> dict[str, Any]:
    """The fields of `Amounts`. A correction that is of no key is the account's: a credit.

    A late event is a call that was counted when it was given up. What was posted before rollups
    had hours has no status, and counts with the calls.
    """
    called = [row for row in rows if row.group[3] != _CORRECTION]
    corrected = [row for row in rows if row.group[3] == _CORRECTION and row.group[0]]
    credited = [row for row in rows if row.group[3] == _CORRECTION and not row.group[0]]
    tokens = {name: sum(row.tokens.get(name, 0) for row in rows) for name in TOKENS}
    return {
        "calls": sum(row.calls for row in called),
        "calls_usd": _usd(called),
        "corrections": sum(row.corrections for row in corrected),
        "corrections_usd": _usd(corrected),
        "credits": sum(row.corrections for row in credited),
        "credits_usd": _usd(credited),
        "total_usd": _usd(rows),
        "tokens": {name: count for name, count in tokens.items() if count},
    }


def _usd(rows: Sequence[Sums]) -> Decimal:
    return nusd_to_usd(sum(row.cost_nusd for row in rows))
