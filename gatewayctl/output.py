"""Prints a command's result: a table for a person, lines of JSON for a program.

- stdout a terminal: a table of the columns that matter.
- stdout a pipe or a file: every row as a line of JSON, whole.
- `--json a,b.c`: these fields, as lines of JSON, in either.
- `--query EXPRESSION`: what the JMESPath expression finds in the list of all rows, or in the
  object; a list is a line each, a string is printed without quotes.

What a command that has changed something cannot print as asked is printed whole, such as the
secret of a new key, which nobody could ask for again; `end` tells why.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gatewayctl.errors import Mistold, Misused
from gatewayctl.terminal import Terminal, printable
from gatewayctl.values import Row, encode_json, query_result, with_fields


@dataclass(frozen=True, kw_only=True)
class Output:
    """`has_changed` tells whether the command has changed something yet."""

    terminal: Terminal
    has_changed: Callable[[], bool]
    fields: tuple[str, ...] = ()
    query: str | None = None
    _mistold: list[Misused] = field(default_factory=list)

    @property
    def is_table(self) -> bool:
        return self.terminal.is_table and not self.fields and self.query is None

    def rows(self, rows: Iterable[Row], columns: Sequence[str], *, empty: str = "None.") -> None:
        """`columns` are the paths of the table, such as `spend.total_usd`."""
        if self.query is not None:
            self._print_result([self._choose_fields(row) for row in rows])
        elif self.is_table:
            self._table(list(rows), columns, empty)
        else:
            for row in rows:
                self._line(self._choose_fields(row))

    def one(self, item: Row, fields: Sequence[str] = ()) -> None:
        """`fields` are those of the table; all of them by default."""
        if self.query is not None:
            self._print_result(self._choose_fields(item))
        elif self.is_table:
            from gatewayctl.tables import sheet

            sheet(self.terminal, item, fields or list(item))
        else:
            self._line(self._choose_fields(item))

    def done(self, text: str) -> None:
        """Prints what was done, for a person; a program has the exit code."""
        if self.is_table:
            self.terminal.say(text)

    def refuse_choice(self) -> None:
        """Raises Misused: a document or an export is whole, and has a form of its own."""
        if self.fields or self.query is not None:
            raise Misused("--json and --query choose nothing here: what is printed is whole.")

    def text(self, text: str) -> None:
        """Text that is the answer itself, as a snippet is."""
        self._write(text if text.endswith("\n") else text + "\n")

    def end(self) -> None:
        """Raises Mistold where something was printed whole."""
        if self._mistold:
            error = self._mistold[0]
            raise Mistold(f"It is done, and printed whole: {error.message}", details=error.details)

    def _choose_fields(self, row: Row) -> Row:
        try:
            return with_fields(row, self.fields) if self.fields else row
        except Misused as error:
            self._keep(error)
            return row

    def _keep(self, error: Misused) -> None:
        if not self.has_changed():
            raise error
        if not self._mistold:
            self._mistold.append(error)

    def _print_result(self, value: Any) -> None:
        try:
            result = query_result(value, self.query or "@")
        except Misused as error:
            self._keep(error)
            result = value
        for item in result if isinstance(result, list) else [result]:
            if isinstance(item, str):
                self._write(item + "\n")
            else:
                self._line(item)

    def _table(self, rows: Sequence[Row], columns: Sequence[str], empty: str) -> None:
        if not rows:
            self.terminal.say(empty)
            return
        from gatewayctl.tables import table

        table(self.terminal, rows, columns)

    def _line(self, value: Any) -> None:
        self._write(encode_json(value).decode() + "\n")

    def _write(self, text: str) -> None:
        # A terminal would obey control characters in names that others chose.
        self.terminal.stdout.write(printable(text) if self.terminal.is_table else text)
        # A pipe that has closed is noticed at its row, and `tail` is read as it comes.
        self.terminal.stdout.flush()
