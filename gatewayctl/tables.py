"""Tables on a terminal. The only module that imports rich's console."""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gatewayctl.terminal import Terminal, printable
from gatewayctl.values import Row, value_at

_GAP = 2
_NOTHING: tuple[Any, ...] = (None, [], {})
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
# The mark of a cut text.
_LEAST = 12
_GOOD = {"ok", "active", "delivered"}
_BAD = {"fail", "failed", "revoked", "error", "dead", "archived"}
_DOUBTFUL = {"warn", "suspended", "unpriced", "abandoned", "pending", "unknown", "expired"}


def console(terminal: Terminal, *, stderr: bool = False) -> Console:
    return Console(
        file=terminal.stderr if stderr else terminal.stdout,
        color_system="auto" if terminal.has_color else None,
        width=terminal.width,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
    )


def table(terminal: Terminal, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """A column is a path, or `header=path`. Those that no row has a value in are left out.

    Where the terminal is too narrow, long texts are cut and then the last columns left out; ids and
    numbers are whole.
    """
    titled = [_title_and_path(column) for column in columns]
    used_columns = [
        (title, path)
        for title, path in titled
        if any(value_at(r, path) not in (None, "") for r in rows)
    ]
    cells = [[value_at(row, path) for _, path in used_columns] for row in rows]
    kinds = [any(_is_number(line[place]) for line in cells) for place in range(len(used_columns))]
    widths = [
        max(len(title), *(len(cell_text(line[place])) for line in cells))
        for place, (title, _) in enumerate(used_columns)
    ]
    whole = [
        number or place == 0 or title.endswith(" ID") or _is_time(cells[0][place])
        for place, ((title, _), number) in enumerate(zip(used_columns, kinds, strict=True))
    ]
    fitted = _fitting_widths(widths, whole, terminal)
    grid = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for place, width in enumerate(fitted):
        grid.add_column(
            used_columns[place][0],
            justify="right" if kinds[place] else "left",
            overflow="ellipsis",
            no_wrap=True,
            width=width,
        )
    for line in cells:
        grid.add_row(*(cell(value) for value in line[: len(fitted)]))
    console(terminal).print(grid)
    if left_out := [title for title, _ in used_columns[len(fitted) :]]:
        terminal.say(f"(too narrow for {', '.join(left_out)})")


def _title_and_path(column: str) -> tuple[str, str]:
    title, equals, path = column.rpartition("=")
    return (title if equals else path.replace(".", " ").replace("_", " ")).upper(), path


def _fitting_widths(widths: Sequence[int], whole: Sequence[bool], terminal: Terminal) -> list[int]:
    """The widths of as many columns as there is room for, at least of the first."""
    fitted = list(widths)
    while fitted:
        excess = sum(fitted) + _GAP * (len(fitted) - 1) - terminal.width
        if excess <= 0 or len(fitted) == 1:
            break
        places = [p for p, width in enumerate(fitted) if not whole[p] and width > _LEAST]
        if places:
            widest = max(places, key=fitted.__getitem__)
            fitted[widest] = max(_LEAST, fitted[widest] - excess)
        else:
            fitted.pop()
            # There is room again for what was cut.
            fitted = list(widths[: len(fitted)])
    return fitted


def sheet(terminal: Terminal, item: Row, fields: Sequence[str]) -> None:
    """An object, a field a line; those of objects inside it too, and a line for each in a list."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for field in fields:
        for name, value in _flatten(field, value_at(item, field)):
            grid.add_row(name, cell(value))
    console(terminal).print(grid)


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Unset members of inner objects have no line."""
    if isinstance(value, dict) and value:
        pairs = [(f"{name}.{key}", item) for key, item in value.items() if item not in _NOTHING]
        if not pairs:
            yield name, None
        for path, item in pairs:
            yield from _flatten(path, item)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield (name if number == 0 else ""), item
    else:
        yield name, value


def cell(value: Any) -> Text:
    text = cell_text(value)
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


def cell_text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case Decimal():
            return f"{value:f}"
        case list() | dict() if not value:
            return "-"
        case list() if all(isinstance(item, (str, int, Decimal)) for item in value):
            return ", ".join(map(cell_text, value))
        case dict():
            set_fields = {name: each for name, each in value.items() if each not in _NOTHING}
            return ", ".join(f"{name} {cell_text(each)}" for name, each in set_fields.items())
        case list():
            return "; ".join(map(cell_text, value))
        case str() if _is_time(value):
            # To the second; JSON has all of it.
            return f"{value[:10]} {value[11:19]}Z"
        case _:
            return str(value)


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)
