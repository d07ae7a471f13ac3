"""Selects rows of a table of sums, by their numbers."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import compress, count
from typing import Any

from libs.common.storage.mongo.sum_tables import FieldColumn, SumTable


def rows_with(
    field: FieldColumn, values: AbstractSet[Any], rows: Iterable[int] | None
) -> list[int]:
    """Those of the rows, or of all, that have one of the values."""
    numbers, chosen = field.numbers, set(compress(count(), map(values.__contains__, field.values)))
    if not chosen:
        return []
    if rows is None:
        return list(compress(count(), map(chosen.__contains__, numbers)))
    return [row for row in rows if numbers[row] in chosen]


def rows_of_model(table: SumTable, name: str, rows: Sequence[int] | None) -> list[int]:
    matching = rows_with(table.field("model"), {name}, rows)
    provider, slash, model = name.partition("/")
    if slash and provider and model:
        of_provider = rows_with(table.field("provider"), {provider}, rows)
        matching = sorted({*matching, *rows_with(table.field("model"), {model}, of_provider)})
    return matching
