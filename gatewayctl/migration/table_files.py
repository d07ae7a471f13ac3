"""Tables out of files: a dump by pg_dump, with COPY or INSERT, or a directory of CSV files.

A dump is read line by line, so it may be of any size; what is kept of it is bounded.
"""

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from gatewayctl.errors import Misused
from gatewayctl.migration.sql_values import rows_of_insert
from gatewayctl.values import Row

MAX_ROWS = 200_000
_MAX_LINE_BYTES = 16 * 1024 * 1024
_COPY = re.compile(r"COPY (?P<table>\S+) \((?P<columns>[^)]*)\) FROM stdin;")
_INSERT = re.compile(r"INSERT INTO (?P<table>\S+) ")
_CREATE = re.compile(r"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?(?P<table>\S+) \(")
_COLUMN = re.compile(r'\s+(?P<column>"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*) ')
_NO_COLUMN = ("constraint", "primary", "unique", "check", "foreign", "exclude", "like")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass
class Tables:
    """`others` are those that have rows and were not wanted."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    _count: int = 0

    def add(self, table: str, row: Row) -> None:
        """Raises Misused."""
        self._count += 1
        if self._count > MAX_ROWS:
            raise Misused(f"More than {MAX_ROWS:,} rows: export the tables that matter alone.")
        self.rows.setdefault(table, []).append(row)


def read_tables_of(path: Path, names: Collection[str]) -> Tables:
    """Raises Misused, with the line."""
    try:
        return _directory(path, names) if path.is_dir() else _dump(path, names)
    except OSError as error:
        raise Misused(f"{error.filename or path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Misused(f"{path}: is not UTF-8.") from None


def read_rows(path: Path) -> Iterator[Row]:
    """Of one CSV file. Raises Misused, with the line."""
    try:
        for place, row in enumerate(read_csv(path)):
            if place == MAX_ROWS:
                raise Misused(f"{path}: has more than {MAX_ROWS:,} rows.")
            yield row
    except OSError as error:
        raise Misused(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Misused(f"{path}: is not UTF-8.") from None


def _directory(path: Path, names: Collection[str]) -> Tables:
    tables = Tables()
    files = sorted(path.glob("*.csv"))
    if not {file.stem for file in files} & {*names}:
        raise Misused(f"{path}: has none of the files {', '.join(f'{t}.csv' for t in names)}.")
    for file in files:
        if file.stem not in names:
            tables.others.add(file.stem)
            continue
        for row in read_csv(file):
            tables.add(file.stem, row)
    return tables


def read_csv(path: Path) -> Iterator[Row]:
    """Rows by the names of the first line, empty values as None. Raises Misused, with the line."""
    csv.field_size_limit(_MAX_LINE_BYTES)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            if len(set(header)) != len(header) or not all(header):
                raise Misused(f"{path}:1: names a column twice, or one without a name.")
            for values in reader:
                if not values:
                    continue
                if len(values) != len(header):
                    message = f"has {len(values)} values for {len(header)} columns"
                    raise Misused(f"{path}:{reader.line_num}: {message}.")
                pairs = zip(header, values, strict=True)
                yield {name: value or None for name, value in pairs}
        except csv.Error as error:
            raise Misused(f"{path}:{reader.line_num}: is not CSV: {error}.") from None


class _Lines:
    """Counts lines, each of them bounded."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self.number = 0

    def next(self) -> str | None:
        """Without its end; None after the last. Raises Misused."""
        raw = self._file.readline(_MAX_LINE_BYTES + 1)
        if not raw:
            return None
        self.number += 1
        if len(raw) > _MAX_LINE_BYTES:
            raise self.fault(f"is longer than {_MAX_LINE_BYTES // 1024**2} MiB")
        return raw.decode("utf-8").rstrip("\r\n")

    def fault(self, message: str) -> Misused:
        return Misused(f"{self._name}:{self.number}: {message}.")


def _dump(path: Path, names: Collection[str]) -> Tables:
    tables = Tables()
    columns: dict[str, list[str]] = {}
    found: set[str] = set()
    with path.open("rb") as file:
        if file.read(5) == b"PGDMP":
            raise Misused(f"{path}: is pg_dump's own format; dump with --format=plain.")
        file.seek(0)
        lines = _Lines(file, str(path))
        while (line := lines.next()) is not None:
            if (match := _COPY.match(line)) is not None:
                found.add(_table(match["table"]))
                _copy(lines, match, names, tables)
            elif (match := _INSERT.match(line)) is not None:
                found.add(_table(match["table"]))
                _insert(lines, line, match, names, columns, tables)
            elif (match := _CREATE.match(line)) is not None:
                found.add(_table(match["table"]))
                if not line.rstrip().endswith(";"):
                    columns[_table(match["table"])] = _read_columns(lines)
    if not found:
        raise Misused(f"{path}: has no tables: dump with pg_dump --format=plain.")
    if not found & {*names}:
        raise Misused(f"{path}: has none of the tables {', '.join(names)}.")
    return tables


def _copy(lines: _Lines, match: re.Match[str], names: Collection[str], tables: Tables) -> None:
    table = _table(match["table"])
    header = [_name(each) for each in match["columns"].split(",")]
    while (line := lines.next()) != "\\.":
        if line is None:
            raise lines.fault(f"ends within the rows of {table}: the dump is not whole")
        if table not in names:
            tables.others.add(table)
            continue
        values = line.split("\t")
        if len(values) != len(header):
            raise lines.fault(f"has {len(values)} values for {len(header)} columns of {table}")
        tables.add(table, {n: _unescape(v) for n, v in zip(header, values, strict=True)})


def _unescape(value: str) -> str | None:
    if value == "\\N":
        return None
    if "\\" not in value:
        return value
    return _ESCAPED.sub(lambda match: _ESCAPES.get(match[1], match[1]), value)


def _insert(
    lines: _Lines,
    line: str,
    match: re.Match[str],
    names: Collection[str],
    columns: dict[str, list[str]],
    tables: Tables,
) -> None:
    table = _table(match["table"])
    first_line, statement, size, quotes = lines.number, [line], len(line), line.count("'")
    while not (statement[-1].endswith(";") and quotes % 2 == 0):
        following = lines.next()
        if following is None:
            raise lines.fault(f"ends within a row of {table}: the dump is not whole")
        size += len(following)
        quotes += following.count("'")
        if size > _MAX_LINE_BYTES:
            raise lines.fault(f"goes on with a statement of more than {_MAX_LINE_BYTES} bytes")
        statement.append(following)
    if table not in names:
        tables.others.add(table)
        return
    try:
        column_names, rows = rows_of_insert("\n".join(statement)[match.end() :])
    except ValueError as error:
        raise lines.fault(str(error)) from None
    header = [_name(each) for each in column_names] if column_names else columns.get(table)
    for values in rows:
        _add_row(lines, first_line, table, header, values, tables)


def _add_row(
    lines: _Lines,
    first_line: int,
    table: str,
    header: Sequence[str] | None,
    values: Sequence[Any],
    tables: Tables,
) -> None:
    if header is None:
        message = f"{table} has no columns: dump with --column-inserts, or with the schema"
        raise lines.fault(message)
    if len(values) != len(header):
        raise lines.fault(
            f"(from {first_line}) has {len(values)} values for {len(header)} columns of {table}"
        )
    tables.add(table, dict(zip(header, values, strict=True)))


def _read_columns(lines: _Lines) -> list[str]:
    """As pg_dump writes it, a column a line."""
    columns: list[str] = []
    while (line := lines.next()) is None or not line.startswith(")"):
        if line is None:
            raise lines.fault("ends within CREATE TABLE: the dump is not whole")
        match = _COLUMN.match(line)
        if match is not None and match["column"].lower() not in _NO_COLUMN:
            columns.append(_name(match["column"]))
    return columns


def _table(text: str) -> str:
    """Without its schema: `public."LiteLLM_TeamTable"`."""
    return _name(re.split(r'\.(?=(?:[^"]*"[^"]*")*[^"]*$)', text)[-1])


def _name(text: str) -> str:
    name = text.strip()
    if name.startswith('"') and name.endswith('"'):
        return name[1:-1].replace('""', '"')
    return name
