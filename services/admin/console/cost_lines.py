"""The lines of a cost, as a call and a quote have them."""

from collections.abc import Sequence
from decimal import Decimal

from htpy import Node, p
from msgspec import UNSET

from services.admin.console.elements import NOTHING, Column, count_text, rows_table, usd
from services.admin.entry_views import LineView

_COLUMNS = (
    Column("Item"), Column("Quantity", "number"), Column("Rate", "number"),
    Column("Amount", "number"),
)  # fmt: skip


def lines_table(lines: Sequence[LineView]) -> Node:
    rows = [
        [_item(line), count_text(line.quantity), _rate(line), usd(line.amount_usd)]
        for line in lines
    ]
    return rows_table("Cost", _COLUMNS, rows, empty=p["Nothing was charged."])


def rate_text(rate: Decimal | None) -> str:
    return NOTHING if rate is None else f"${rate:f}"


def _item(line: LineView) -> str:
    name = line.item.replace("_", " ")
    return name if line.model is UNSET else f"{name} ({line.model})"


def _rate(line: LineView) -> str:
    return (
        rate_text(line.rate_usd)
        if line.rate_usd is None
        else f"${line.rate_usd:f} per {line.per:,}"
    )
