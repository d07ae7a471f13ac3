"""Which rows of a table of sums are wanted, by their numbers."""

from collections.abc import Iterable, Sequence
from typing import Any

from libs.common.storage.mongo.sum_tables import Field, SumTable


def rows_with(field: Field, values: set[Any], rows: Iterable[int] | None) -> list[int]:
    """Those of the rows, or of all, that have one of the values."""
    numbers, chosen = field.numbers, {n for n, value in enumerate(field.values) if value in values}
    if not chosen:
        return []
    return [
        row for row in (range(len(numbers)) if rows is None else rows) if numbers[row] in chosen
    ]


def rows_of_model(table: SumTable, name: str, rows: Sequence[int] | None) -> list[int]:
    found = rows_with(table.field("model"), {name}, rows)
    provider, slash, model = name.partition("/")
    if slash and provider and model:
        of_provider = rows_with(table.field("provider"), {provider}, rows)
        found = sorted({*found, *rows_with(table.field("model"), {model}, of_provider)})
    return found
