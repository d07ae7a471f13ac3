"""Reads a rollup's document back into rows of a table, by hour and status."""

from collections import Counter
from collections.abc import Mapping

from libs.common.storage.mongo.driver import Document
from libs.common.storage.mongo.rollup_rows import (
    CELL_TIME_CHARS,
    CELLS_VERSION,
    ROLLUP_FIELDS,
    TAGS,
    encode_tags,
)
from libs.common.storage.mongo.sum_tables import OF_STATUS, Tally

_FIELDS = tuple(name for name in ROLLUP_FIELDS if name != TAGS)
_COUNTED = ("cost_nusd", "calls", "corrections")
_DETAILS = ("status", "tokens")

# Sums by name, by the name of the rollup's cell.
_Cells = Mapping[str, Mapping[str, int]]


def add_cells(tally: Tally, rollup: Document) -> None:
    """To a tally by CELL_FIELDS."""
    tags = rollup.get(TAGS) or {}
    tagged = encode_tags(tags).decode() if tags else ""
    values = (*[rollup.get(name) or "" for name in _FIELDS], tagged)
    for cell, sums in _cells_of(rollup).items():
        hour, status = cell[:CELL_TIME_CHARS], cell[CELL_TIME_CHARS + 1 :]
        tally.add_row((*values, hour, status), sums)


def _cells_of(rollup: Document) -> _Cells:
    """What is in no cell has one without time and status."""
    rest = Counter({name: rollup.get(name, 0) for name in _COUNTED})
    for name in _DETAILS:
        rest.update({f"{name}.{each}": n for each, n in rollup.get(name, {}).items()})
    if rollup.get("v") != CELLS_VERSION:
        return {"": rest}
    cells = {
        cell: {name: n for name, n in sums.items() if name != "tokens"}
        | {f"tokens.{name}": n for name, n in sums.get("tokens", {}).items()}
        for cell, sums in rollup["cells"].items()
    }
    for cell, sums in cells.items():
        rest.subtract(sums)
        rest[OF_STATUS + cell[CELL_TIME_CHARS + 1 :]] -= sums.get("calls", 0)
    return cells | ({"": rest} if any(rest.values()) else {})
