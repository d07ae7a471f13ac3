"""Writes rows as Parquet: row groups, and at the end the footer without which no reader takes it.

It needs pyarrow, which the `parquet` extra installs; the module is imported where one is written.
"""

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from services.admin.exports.columns import Cell, ColumnKind, ExportColumn

_TYPES: dict[ColumnKind, Any] = {
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
    "whole": pa.int64(),
    "amount": pa.decimal128(38, 9),
    "factor": pa.decimal128(38, 18),
    "time": pa.timestamp("ms", "UTC"),
    "flag": pa.bool_(),
}
# Small enough to keep in memory, large enough to compress.
_GROUP_ROWS = 10_000


class ParquetEncoder:
    """Times are moments in UTC, whatever zone their cells are in."""

    def __init__(self, columns: Sequence[ExportColumn], *, group_rows: int = _GROUP_ROWS) -> None:
        self._group_rows = group_rows
        self._schema = pa.schema(
            [(column.name, _TYPES[column.kind]) for column in columns],
        )
        self._buffer = io.BytesIO()
        self._sink = _Sink(self._buffer)
        self._batches: list[pa.RecordBatch] = []
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")

    def begin(self) -> bytes:
        return self._take()

    def rows(self, rows: Sequence[Sequence[Cell]]) -> bytes:
        arrays = [
            pa.array(cells, type=field.type)
            for cells, field in zip(zip(*rows, strict=True), self._schema, strict=True)
        ]
        self._batches.append(pa.record_batch(arrays, schema=self._schema))
        if sum(batch.num_rows for batch in self._batches) >= self._group_rows:
            self._write_group()
        return self._take()

    def end(self) -> bytes:
        self._write_group()
        self._writer.close()
        return self._take()

    def _write_group(self) -> None:
        if self._batches:
            table = pa.Table.from_batches(self._batches, schema=self._schema)
            self._writer.write_table(table, row_group_size=table.num_rows)
            self._batches = []

    def _take(self) -> bytes:
        content = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return content


class _Sink(io.RawIOBase):
    """Counts all bytes, as the footer needs it, and keeps those that were not taken yet."""

    def __init__(self, buffer: io.BytesIO) -> None:
        self._buffer = buffer
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = self._buffer.write(data)
        self._position += size
        return size

    def tell(self) -> int:
        return self._position
