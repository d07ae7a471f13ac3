"""What entries add to the daily rollups, which analytics and the budgets of keys read."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from libs.common.domain.periods import DAILY
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo import UpdateOne

_TOKEN_CLASSES = (
    "input_text",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "input_image",
    "output_text",
    "reasoning",
    "output_audio",
    "output_image",
)


def rollup_updates(entries: Sequence[LedgerEntry]) -> list[UpdateOne]:
    """One `$inc` per account, day, key and model; token counts that were not reported add 0.

    `calls` counts calls alone: a late event is one that was counted when it was given up.
    `revision` counts the transactions, so that of two sums the newer can be told.
    """
    rows: defaultdict[tuple[str, str, str, str], Counter[str]] = defaultdict(Counter)
    for entry in entries:
        row = rows[entry.user_id, entry.periods[DAILY], entry.key_id, entry.model or ""]
        row["revision"] = 1
        row["cost_nusd"] += entry.cost_nusd
        row["calls" if entry.kind == "call" else "corrections"] += 1
        if entry.kind == "late_event":
            row["status.abandoned"] -= 1
        if entry.kind in ("call", "late_event"):
            row[f"status.{entry.status}"] += 1
        for name in _TOKEN_CLASSES:
            tokens = None if entry.usage is None else getattr(entry.usage, name)
            if tokens is not None:
                row[f"tokens.{name}"] += tokens
    return [
        UpdateOne(
            {"_id": "|".join(key)},
            {
                "$inc": dict(row),
                "$setOnInsert": dict(zip(("user_id", "day", "key_id", "model"), key, strict=True)),
            },
            upsert=True,
        )
        for key, row in sorted(rows.items())
    ]
