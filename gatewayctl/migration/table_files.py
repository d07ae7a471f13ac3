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


def read_tables_of(path: Path, wanted: Collection[str]) -> Tables:
    """Raises Misused, with the line."""
    try:
        return _directory(path, wanted) if path.is_dir() else _dump(path, wanted)
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


def _directory(path: Path, wanted: Collection[str]) -> Tables:
    tables = Tables()
    files = sorted(path.glob("*.csv"))
    if not {file.stem for file in files} & {*wanted}:
        raise Misused(f"{path}: has none of the files {', '.join(f'{t}.csv' for t in wanted)}.")
    for file in files:
        if file.stem not in wanted:
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
            raise self.wrong(f"is longer than {_MAX_LINE_BYTES // 1024**2} MiB")
        return raw.decode("utf-8").rstrip("\r\n")

    def wrong(self, message: str) -> Misused:
        return Misused(f"{self._name}:{self.number}: {message}.")


def _dump(path: Path, wanted: Collection[str]) -> Tables:
    tables = Tables()
    columns: dict[str, list[str]] = {}
    seen: set[str] = set()
    with path.open("rb") as file:
        if file.read(5) == b"PGDMP":
            raise Misused(f"{path}: is pg_dump's own format; dump with --format=plain.")
        file.seek(0)
        lines = _Lines(file, str(path))
        while (line := lines.next()) is not None:
            if (match := _COPY.match(line)) is not None:
                seen.add(_table(match["table"]))
                _copy(lines, match, wanted, tables)
            elif (match := _INSERT.match(line)) is not None:
                seen.add(_table(match["table"]))
                _insert(lines, line, match, wanted, columns, tables)
            elif (match := _CREATE.match(line)) is not None:
                seen.add(_table(match["table"]))
                if not line.rstrip().endswith(";"):
                    columns[_table(match["table"])] = _created(lines)
    if not seen:
        raise Misused(f"{path}: has no tables: dump with pg_dump --format=plain.")
    if not seen & {*wanted}:
        raise Misused(f"{path}: has none of the tables {', '.join(wanted)}.")
    return tables


def _copy(lines: _Lines, match: re.Match[str], wanted: Collection[str], tables: Tables) -> None:
    table = _table(match["table"])
    header = [_name(each) for each in match["columns"].split(",")]
    while (line := lines.next()) != "\\.":
        if line is None:
            raise lines.wrong(f"ends within the rows of {table}: the dump is not whole")
        if table not in wanted:
            tables.others.add(table)
            continue
        values = line.split("\t")
        if len(values) != len(header):
            raise lines.wrong(f"has {len(values)} values for {len(header)} columns of {table}")
        tables.add(table, {n: _copied(v) for n, v in zip(header, values, strict=True)})


def _copied(value: str) -> str | None:
    if value == "\\N":
        return None
    if "\\" not in value:
        return value
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), value)


def _insert(
    lines: _Lines,
    line: str,
    match: re.Match[str],
    wanted: Collection[str],
    columns: dict[str, list[str]],
    tables: Tables,
) -> None:
    table = _table(match["table"])
    began, statement, size, quotes = lines.number, [line], len(line), line.count("'")
    while not (statement[-1].endswith(";") and quotes % 2 == 0):
        following = lines.next()
        if following is None:
            raise lines.wrong(f"ends within a row of {table}: the dump is not whole")
        size += len(following)
        quotes += following.count("'")
        if size > _MAX_LINE_BYTES:
            raise lines.wrong(f"goes on with a statement of more than {_MAX_LINE_BYTES} bytes")
        statement.append(following)
    if table not in wanted:
        tables.others.add(table)
        return
    try:
        named, rows = rows_of_insert("\n".join(statement)[match.end() :])
    except ValueError as error:
        raise lines.wrong(str(error)) from None
    header = [_name(each) for each in named] if named else columns.get(table)
    for values in rows:
        _add_row(lines, began, table, header, values, tables)


def _add_row(
    lines: _Lines,
    began: int,
    table: str,
    header: Sequence[str] | None,
    values: Sequence[Any],
    tables: Tables,
) -> None:
    if header is None:
        message = f"{table} has no columns: dump with --column-inserts, or with the schema"
        raise lines.wrong(message)
    if len(values) != len(header):
        raise lines.wrong(
            f"(from {began}) has {len(values)} values for {len(header)} columns of {table}"
        )
    tables.add(table, dict(zip(header, values, strict=True)))


def _created(lines: _Lines) -> list[str]:
    """As pg_dump writes it, a column a line."""
    found: list[str] = []
    while (line := lines.next()) is None or not line.startswith(")"):
        if line is None:
            raise lines.wrong("ends within CREATE TABLE: the dump is not whole")
        match = _COLUMN.match(line)
        if match is not None and match["column"].lower() not in _NO_COLUMN:
            found.append(_name(match["column"]))
    return found


def _table(text: str) -> str:
    """Without its schema: `public."LiteLLM_TeamTable"`."""
    return _name(re.split(r'\.(?=(?:[^"]*"[^"]*")*[^"]*$)', text)[-1])


def _name(text: str) -> str:
    bare = text.strip()
    if bare.startswith('"') and bare.endswith('"'):
        return bare[1:-1].replace('""', '"')
    return bare
