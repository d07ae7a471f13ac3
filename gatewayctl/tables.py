"""Tables on a terminal. The only module that imports rich's console."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gatewayctl.terminal import Terminal, printable
from gatewayctl.values import Row, encoded, picked

_GOOD = {"ok", "active", "delivered"}
_BAD = {"fail", "failed", "revoked", "error", "dead", "archived"}
_DOUBTFUL = {"warn", "suspended", "unpriced", "abandoned", "pending", "unknown", "expired"}


def console(terminal: Terminal, *, stderr: bool = False) -> Console:
    return Console(
        file=terminal.stderr if stderr else terminal.stdout,
        no_color=not terminal.has_color,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
    )


def table(terminal: Terminal, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Columns that no row has a value in are left out."""
    cells = [[picked(row, column) for column in columns] for row in rows]
    used = [
        place for place in range(len(columns)) if any(line[place] is not None for line in cells)
    ]
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place in used:
        is_number = any(_is_number(line[place]) for line in cells)
        shown.add_column(
            header_of(columns[place]),
            justify="right" if is_number else "left",
            overflow="fold" if place == used[0] else "ellipsis",
            no_wrap=place != used[0],
        )
    for line in cells:
        shown.add_row(*(cell(line[place]) for place in used))
    console(terminal).print(shown)


def sheet(terminal: Terminal, item: Row, fields: Sequence[str]) -> None:
    """An object, a field a line."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for field in fields:
        shown.add_row(field, cell(picked(item, field)))
    console(terminal).print(shown)


def header_of(column: str) -> str:
    return column.replace(".", " ").replace("_", " ").upper()


def cell(value: Any) -> Text:
    text = text_of(value)
    style = ""
    if text in _GOOD:
        style = "green"
    elif text in _BAD:
        style = "red"
    elif text in _DOUBTFUL:
        style = "yellow"
    elif value is None:
        style = "dim"
    return Text(printable(text).replace("\n", " "), style=style)


def text_of(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case Decimal():
            return f"{value:f}"
        case list() if not value:
            return "-"
        case list() if all(isinstance(one, (str, int, Decimal)) for one in value):
            return ", ".join(map(text_of, value))
        case list() | dict():
            return encoded(value).decode()
        case _:
            return str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)
