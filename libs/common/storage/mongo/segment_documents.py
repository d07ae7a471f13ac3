"""A segment's documents: which there are, and which of a day belong together.

A segment has the sums of some postings to one day, as tables of `sum_tables`, each in a document of
the collection `rollup_segments`: one table of the level `unrolled` until the rollups have its sums,
then one for each of the LEVELS. Its id has the moment of its oldest posting. What postings insert
begins with an account of theirs: on shards (`sharding`) it lies where their entries do.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from libs.common.domain.ids import uuid7
from libs.common.storage.mongo.driver import Document
from libs.common.storage.mongo.rollup_rows import CELL_FIELDS, IN_CELLS, ROLLUP_FIELDS
from libs.common.storage.mongo.sum_tables import SumTable, Tally, decoded_table

# What postings insert, and folding makes of it as long as the rollups lack it; and what postings of
# an earlier release inserted, which wrote the rollups themselves.
UNROLLED, DELTA = "unrolled", "delta"
TOTALS, USERS, ROWS, CELLS = "totals", "users", "rows", "cells"
ASKED = "asked"
# What the rows of each level are summed by.
LEVELS: Mapping[str, tuple[str, ...]] = {
    TOTALS: ("model", "provider"),
    "accounts": ("user_id",),
    USERS: ("client_user",),
    "hours": ("model", "provider", *IN_CELLS),
    ROWS: ROLLUP_FIELDS,
    CELLS: CELL_FIELDS,
}
# Segments of one table; and the levels whose table has all of a segment, and counts its entries.
WHOLE = (UNROLLED, DELTA)
LARGEST = (CELLS, *WHOLE)
# A segment is folded with all smaller ones where it is small, or at most so many times as large as
# they are together.
_RATIO, _SMALL_BYTES = 4, 16_384
# Of cells that are folded together; the other levels are not larger. MongoDB takes 16 MiB.
_MAX_BYTES, _MOST_AT_ONCE = 2_000_000, 1_000
# Beside the level `hours`, which lacks them: the names of models that its calls asked for.
_MAX_ASKED = 200
_TIME_CHARS = 13


def table_of(document: Document) -> SumTable:
    return decoded_table(document["table"])


def oldest(segment_ids: Iterable[str]) -> int:
    """When the oldest posting of the segments was, in Unix milliseconds."""
    return min(map(_since_ms, segment_ids))


def _since_ms(segment_id: str) -> int:
    return int(segment_id.rsplit("|", 2)[-2][:_TIME_CHARS].replace("-", ""), 16)


def foldable(sizes: Iterable[tuple[int, str]], at: int = 1) -> list[str]:
    """Of segments by size, the smallest `at` or more that belong together.

    One is folded again when as much as a share of it was added. So each sum is written a few times
    again, whatever the day's number of postings, and few segments of any size remain.
    """
    left = sorted(sizes)[:_MOST_AT_ONCE]
    while len(left) >= at:
        chosen = _run(left)
        if len(chosen) >= at:
            return chosen
        # A smaller one may have to wait for others of its size.
        del left[: max(len(chosen), 1)]
    return []


def fitting(sizes: Iterable[tuple[int, str]]) -> Iterator[list[str]]:
    """The ids of all segments, in parts of which each is small enough for one segment."""
    ids: list[str] = []
    together = 0
    for size, id_ in sizes:
        if ids and (together + size > _MAX_BYTES or len(ids) == _MOST_AT_ONCE):
            yield ids
            ids, together = [], 0
        ids.append(id_)
        together += size
    if ids:
        yield ids


def _run(sizes: Iterable[tuple[int, str]]) -> list[str]:
    chosen: list[str] = []
    together = 0
    for size, id_ in sizes:
        if together + size > _MAX_BYTES:
            break
        if chosen and size > max(_RATIO * together, _SMALL_BYTES):
            break
        chosen.append(id_)
        together += size
    return chosen


def unrolled(day: str, table: SumTable, at_ms: int) -> list[Document]:
    users = table.field("user_id").values
    return _documents(day, {UNROLLED: table}, at_ms, f"{users[0]}|" if users else "")


def folded(day: str, parts: Iterable[SumTable], at_ms: int) -> list[Document]:
    """Of sums that the rollups have."""
    cells = summed_tables(CELL_FIELDS, *parts)
    rows = summed_tables(LEVELS[ROWS], cells)
    sources = {"hours": cells, "accounts": rows, USERS: rows, TOTALS: rows}
    smaller = {level: summed_tables(LEVELS[level], table) for level, table in sources.items()}
    documents = _documents(day, {CELLS: cells, ROWS: rows} | smaller, at_ms)
    requested_models = list(rows.field("requested_model").values)
    if len(requested_models) <= _MAX_ASKED:
        next(each for each in documents if each["level"] == "hours")[ASKED] = requested_models
    return documents


def ids_of(largest_id: str) -> list[str]:
    """Of all documents of the segment."""
    segment, _, level = largest_id.rpartition("|")
    return [largest_id] if level in WHOLE else [f"{segment}|{each}" for each in LEVELS]


def summed_tables(fields: Sequence[str], *tables: SumTable) -> SumTable:
    tally = Tally(fields)
    for table in tables:
        tally.add(table)
    return tally.table()


def _documents(
    day: str, tables: Mapping[str, SumTable], at_ms: int, place: str = ""
) -> list[Document]:
    """Of one segment. The first table has all that it counts."""
    segment = f"{place}{uuid7(at_ms, os.urandom(10))}"
    documents = []
    for level, table in tables.items():
        data = table.encoded()
        names = {"_id": f"{segment}|{level}", "level": level, "day": day}
        documents.append(names | {"size": len(data), "table": data})
    documents[0]["entries"] = next(iter(tables.values())).entries
    return documents
