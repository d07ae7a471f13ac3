"""Adds rows of a segment to the rollups that they are of."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from libs.common.storage.mongo.driver import Document, UpdateOne
from libs.common.storage.mongo.rollup_rows import (
    CELLS_VERSION,
    HOUR,
    ROLLUP_FIELDS,
    TAG,
    TAGS,
)
from libs.common.storage.mongo.sum_tables import STATUS, SumTable

_ENTRIES = ("calls", "corrections")
# What each document has, if only 0.
_ALWAYS = ("cost_nusd", "calls")
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode


class Rollup(msgspec.Struct, frozen=True):
    """A document's id and fields, and which rows of the table are of it."""

    id: str
    fields: Document
    rows: list[int]


def rollups_of(table: SumTable, day: str) -> list[Rollup]:
    """In the order of their ids, which begin with the account."""
    columns = [table.field(name) for name in ROLLUP_FIELDS]
    groups: dict[tuple[str, ...], list[int]] = {}
    for row in range(table.rows):
        key = tuple([column.values[column.numbers[row]] for column in columns])
        groups.setdefault(key, []).append(row)
    rollups = [
        _rollup(dict(zip(ROLLUP_FIELDS, key, strict=True)), day, rows)
        for key, rows in groups.items()
    ]
    return sorted(rollups, key=lambda rollup: rollup.id)


def rollup_updates(
    table: SumTable, rollups: Iterable[Rollup], *, by: Sequence[str] = ()
) -> list[UpdateOne]:
    """One `$inc` per document, which is found by its id and the fields `by`.

    A sharded collection wants its shard key there; elsewhere a document is found faster by its id.
    """
    hours, statuses = table.field(HOUR), table.field(STATUS)
    cells = [
        f"{hours.values[hour]} {statuses.values[status]}"
        for hour, status in zip(hours.numbers, statuses.numbers, strict=True)
    ]
    sums = {name: table.sum(name) for name in sorted(table.sum_names)}
    return [
        UpdateOne(
            {"_id": rollup.id} | {name: rollup.fields[name] for name in by},
            {
                "$inc": _increments(rollup.rows, cells, sums),
                # An upsert takes the others from its condition.
                "$setOnInsert": {n: value for n, value in rollup.fields.items() if n not in by},
            },
            upsert=True,
        )
        for rollup in rollups
    ]


def _increments(
    rows: Iterable[int], cells: Sequence[str], sums: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    """By path. `revision` counts entries, so that the newer of two sums is known."""
    increments = Counter(dict.fromkeys(_ALWAYS, 0))
    for row in rows:
        cell = cells[row]
        # Also one whose calls all turned out to be others'.
        increments[f"cells.{cell}.calls"] += 0
        for name, numbers in sums.items():
            number = numbers[row]
            if number:
                increments[name] += number
                increments[f"cells.{cell}.{name}"] += number
                if name in _ENTRIES:
                    increments["revision"] += number
                if name == "calls":
                    increments[f"status.{cell.partition(' ')[2]}"] += number
    return dict(increments)


def _rollup(values: Mapping[str, str], day: str, rows: list[int]) -> Rollup:
    """A tag's value is the whole tag, by which entries are found, too."""
    tags = _decode_tags(values[TAGS]) if values[TAGS] else {}
    fields: Document = {"user_id": values["user_id"], "day": day}
    fields |= {name: values[name] for name in ("key_id", "model", "provider", "requested_model")}
    dimensions = {f"{TAG}{name}": tag for name, tag in tags.items()}
    if values["requested_model"] != values["model"]:
        dimensions["requested_model"] = values["requested_model"]
    if values["client_user"]:
        fields["client_user"] = dimensions["client_user"] = values["client_user"]
    fields |= {f"{TAGS}.{name}": tag for name, tag in tags.items()} | {"v": CELLS_VERSION}
    id_parts = (values["user_id"], day, values["key_id"], values["model"], values["provider"])
    return Rollup("|".join(id_parts) + _suffix(dimensions), fields, rows)


def _suffix(dimensions: Mapping[str, str]) -> str:
    if not dimensions:
        return ""
    text = msgspec.json.encode(sorted(dimensions.items()))
    return "|" + hashlib.sha256(text).hexdigest()[:24]
