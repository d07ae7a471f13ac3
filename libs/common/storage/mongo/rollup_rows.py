"""Into which rollup an entry counts: a document per account, day and what its calls have in common.

A document's `cells` split its sums by hour and status: `2026-11-29T18:30 ok` is what began in the
hour from then (UTC), which is one of the account's zone. The documents of this layout have `v` 2;
others have no cells, or none of what was posted to them before.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from libs.common.domain.periods import DAILY, hour_of, posting_zone
from libs.common.domain.tags import name_of
from libs.common.domain.token_classes import used_classes
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.driver import Document, UpdateOne

CELLS_VERSION = 2
# As `isoformat` begins, which is faster.
CELL_TIME = "%Y-%m-%dT%H:%M"
# Of a cell's name, what comes before the space and after it.
CELL_TIME_CHARS = 16
# What values share that have no sums of their own.
OTHER = "(other)"
TAG = "tag:"
MAX_VALUE_CHARS = 256
_ROLLED_UP_BY = ("user_id", "day", "key_id", "model", "provider")

# An account's day, and the values that a document may be of beyond `_ROLLED_UP_BY`, by dimension:
# `requested_model`, `client_user`, or `tag:` with the tag's name.
Day = tuple[str, str]
Dimensions = dict[str, str]


def dimensions_of(entry: LedgerEntry, tags: Collection[str]) -> Dimensions:
    """Of a call with the usual name of its model, without user and tags: none."""
    found: Dimensions = {}
    if entry.requested_model != entry.model:
        found["requested_model"] = (entry.requested_model or "")[:MAX_VALUE_CHARS]
    if entry.client_user:
        found["client_user"] = entry.client_user[:MAX_VALUE_CHARS]
    if tags:
        for tag in entry.tags:
            if name_of(tag) in tags:
                found[f"{TAG}{name_of(tag)}"] = tag
    return found


def day_of(entry: LedgerEntry) -> Day:
    return entry.user_id, entry.periods[DAILY]


def wanted_values(
    entries: Sequence[LedgerEntry], tags: Collection[str]
) -> dict[Day, dict[str, set[str]]]:
    """By account and day, the values of each dimension."""
    wanted: dict[Day, dict[str, set[str]]] = {}
    for entry in entries:
        for name, value in dimensions_of(entry, tags).items():
            wanted.setdefault(day_of(entry), {}).setdefault(name, set()).add(value)
    return wanted


class RollupRow(msgspec.Struct, frozen=True):
    """What one document is of, and what is added to it, by path."""

    fields: Document
    added: Counter[str]


def rollup_rows(
    entries: Sequence[LedgerEntry],
    tags: Collection[str],
    is_own: Callable[[Day, str, str], bool],
) -> dict[str, RollupRow]:
    """By the document's id. `is_own` tells which values have sums of their own.

    Token counts of 0, and those that were not reported, add no field. Tokens and cost of the other
    models that a call ran are in the row of the call's model. `calls` leaves out late events: their
    calls were counted when they were abandoned; but the calls of a cell are those of its status, so
    that a late event counts there, and takes one from those abandoned. `revision` counts
    transactions, so the newer of two sums is known.
    """
    rows: dict[str, RollupRow] = {}
    for entry in entries:
        day = day_of(entry)
        dimensions = {
            name: value if is_own(day, name, value) else OTHER
            for name, value in dimensions_of(entry, tags).items()
        }
        of = (*day, entry.key_id, entry.model or "", entry.provider or "")
        row_id = "|".join(of) + _suffix(dimensions)
        if row_id not in rows:
            rows[row_id] = RollupRow(_fields(of, dimensions, entry), Counter())
        _count(rows[row_id].added, entry)
    return rows


def rollup_updates(rows: Mapping[str, RollupRow], *, by: Sequence[str] = ()) -> list[UpdateOne]:
    """One `$inc` per document, which is found by its id and the fields `by`.

    A sharded collection wants its shard key there; elsewhere a document is found faster by its id.
    """
    return [
        UpdateOne(
            {"_id": id_} | {name: row.fields[name] for name in by},
            {
                "$inc": dict(row.added),
                # An upsert takes the others from its condition.
                "$setOnInsert": {n: value for n, value in row.fields.items() if n not in by},
            },
            upsert=True,
        )
        for id_, row in sorted(rows.items())
    ]


def _suffix(dimensions: Mapping[str, str]) -> str:
    if not dimensions:
        return ""
    text = msgspec.json.encode(sorted(dimensions.items()))
    return "|" + hashlib.sha256(text).hexdigest()[:24]


def _fields(of: tuple[str, ...], dimensions: Dimensions, entry: LedgerEntry) -> Document:
    """A tag's value is the whole tag, by which entries are found, too."""
    named: Document = {"requested_model": entry.requested_model or ""}
    for name, value in dimensions.items():
        named[f"tags.{name.removeprefix(TAG)}" if name.startswith(TAG) else name] = value
    return dict(zip(_ROLLED_UP_BY, of, strict=True)) | named | {"v": CELLS_VERSION}


def _count(row: Counter[str], entry: LedgerEntry) -> None:
    hour = hour_of(entry.started_at, posting_zone(entry.time_zone)).isoformat()[:CELL_TIME_CHARS]
    cell = f"cells.{hour} {entry.status}."
    row["revision"] = 1
    counted = "calls" if entry.kind == "call" else "corrections"
    row[counted] += 1
    row[cell + counted] += 1
    if entry.kind == "late_event":
        row["status.abandoned"] -= 1
        row[f"cells.{hour} abandoned.calls"] -= 1
        row[cell + "calls"] += 1
    if entry.kind in ("call", "late_event"):
        row[f"status.{entry.status}"] += 1
    row["cost_nusd"] += entry.cost_nusd
    row[cell + "cost_nusd"] += entry.cost_nusd
    counts = () if entry.usage is None else (entry.usage, *entry.usage.runs)
    for each in counts:
        for name, tokens in used_classes(each):
            row[f"tokens.{name}"] += tokens
            row[f"{cell}tokens.{name}"] += tokens
