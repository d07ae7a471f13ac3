"""Tables and bars fit the terminal, and leave ids, numbers and times whole."""

from decimal import Decimal
from typing import Any

import pytest

from gatewayctl.bars import bar_of
from gatewayctl.tables import sheet, table
from gatewayctl.terminal import Terminal
from tests.support.command_line import Stream

ROWS: list[dict[str, Any]] = [
    {
        "user_id": "a" * 20,
        "name": "a name that is long " * 3,
        "at": "2026-11-24T12:00:00.123000Z",
        "spend": {"total_usd": Decimal("0.000000001")},
        "nothing": None,
        "entry_id": "e" * 36,
    }
]
COLUMNS = ("user id=user_id", "name", "at", "usd=spend.total_usd", "nothing", "entry id=entry_id")


def terminal(width: int) -> tuple[Terminal, Stream, Stream]:
    out, err = Stream(is_terminal=True), Stream(is_terminal=True)
    environ = {"COLUMNS": str(width), "NO_COLOR": "1"}
    return Terminal(stdout=out, stderr=err, environ=environ), out, err


@pytest.mark.parametrize("width", [10, 40, 60, 80, 120, 200])
def test_only_long_texts_are_shortened(width: int) -> None:
    screen, out, err = terminal(width)
    table(screen, ROWS, COLUMNS)
    header, line = out.getvalue().splitlines()
    # Nothing has a value there, in no row.
    assert "NOTHING" not in header
    for title, whole in (
        ("AT", "2026-11-24 12:00:00Z"), ("USD", "0.000000001"), ("ENTRY ID", "e" * 36),
    ):  # fmt: skip
        assert title in err.getvalue() or whole in line or width < 20
    if width >= 20:
        assert line.startswith("a" * 20)
    assert max(len(each.rstrip()) for each in (header, line)) <= max(width, 20)
    assert ("too narrow for" in err.getvalue()) is (width < 120)


def test_an_object_has_a_line_for_each_field_that_is_set() -> None:
    screen, out, _ = terminal(100)
    item: dict[str, Any] = {
        "user_id": "a",
        "budget": {"limit_usd": Decimal("1.50"), "soft_limit_usd": None, "alerts": []},
        "limits": {"parallel_calls": None},
        "lines": [{"item": "input", "usd": Decimal("0.1")}, {"item": "output", "usd": 2}],
        "tags": ["x", "y"],
        "none": None,
    }
    sheet(screen, item, list(item))
    assert [line.split() for line in out.getvalue().splitlines()] == [
        ["user_id", "a"],
        ["budget.limit_usd", "1.50"],
        ["limits", "-"],
        ["lines", "item", "input,", "usd", "0.1"],
        ["item", "output,", "usd", "2"],
        ["tags", "x,", "y"],
        ["none", "-"],
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", ""), ("-3", ""), ("0.000001", "▏"), ("5", "█████"), ("10", "█" * 10), ("5.5", "█████▌")],
)
def test_bars_have_eighths_and_show_every_positive_value(value: str, expected: str) -> None:
    assert bar_of(Decimal(value), Decimal(10), 10) == expected
