"""Writes rows as CSV or as lines of JSON.

CSV is RFC 4180's: UTF-8, CRLF, a header, quotes around what needs them. An amount is digits and a
point, never an exponent; several texts in a cell are a list of JSON. A text that a spreadsheet
would run as a formula begins with an apostrophe; numbers do not, so that a credit stays a number.
"""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from libs.common.web.json import encode_json
from services.admin.exports.columns import Cell

# The wide forms are formulas in a Japanese or Chinese locale.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class Encoder(Protocol):
    """Encodes an export: its beginning, its rows by batches, its end."""

    def begin(self) -> bytes: ...
    def rows(self, rows: Sequence[Sequence[Cell]]) -> bytes: ...
    def end(self) -> bytes: ...


class CsvEncoder:
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def begin(self) -> bytes:
        return self.rows([self._names])

    def rows(self, rows: Sequence[Sequence[Cell]]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([[csv_cell(cell) for cell in row] for row in rows])
        return text.getvalue().encode()

    def end(self) -> bytes:
        return b""


class NdjsonEncoder:
    """A line is an object with every column, null where there is nothing."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def begin(self) -> bytes:
        return b""

    def rows(self, rows: Sequence[Sequence[Cell]]) -> bytes:
        return b"".join(
            encode_json(dict(zip(self._names, map(_json_cell, row), strict=True))) + b"\n"
            for row in rows
        )

    def end(self) -> bytes:
        return b""


def csv_cell(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case str():
            return harmless(cell)
        case bool():
            return "true" if cell else "false"
        case int():
            return str(cell)
        case Decimal():
            return f"{cell:f}"
        case datetime():
            return _time(cell)
        case tuple():
            return encode_json(cell).decode() if cell else ""


def harmless(text: str) -> str:
    """The text in a form that a spreadsheet never runs."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def _json_cell(cell: Cell) -> Cell:
    return _time(cell) if isinstance(cell, datetime) else cell


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
