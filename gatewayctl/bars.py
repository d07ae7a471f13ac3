"""Sums as bars on a terminal."""

from collections.abc import Sequence
from decimal import Decimal

from rich.table import Table

from gatewayctl.tables import cell, console
from gatewayctl.terminal import Terminal
from gatewayctl.values import Row

_EIGHTHS = " ▏▎▍▌▋▊▉"
_WIDEST = 40
_NARROWEST = 8
_BESIDE = 34


def bars(terminal: Terminal, title: str, rows: Sequence[tuple[str, Row]]) -> None:
    """A line for each named sum, the longest bar for the dearest."""
    top = max((Decimal(row["cost_usd"]) for _, row in rows), default=Decimal(0))
    names = max((len(name) for name, _ in rows), default=0)
    width = min(_WIDEST, max(_NARROWEST, terminal.width - min(names, 40) - _BESIDE))
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    grid.add_column(title.upper(), overflow="ellipsis", no_wrap=True, max_width=40)
    grid.add_column("COST USD", justify="right", no_wrap=True)
    grid.add_column("", width=width, no_wrap=True, style="cyan")
    grid.add_column("CALLS", justify="right", no_wrap=True)
    for name, row in rows:
        cost = Decimal(row["cost_usd"])
        grid.add_row(cell(name), cell(cost), bar_of(cost, top, width), cell(row["calls"]))
    console(terminal).print(grid)


def bar_of(value: Decimal, top: Decimal, width: int) -> str:
    """In eighths of a character. Any positive amount is visible; a credit has no bar."""
    if value <= 0 or top <= 0:
        return ""
    eighths = max(1, int(value * width * 8 / top))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
